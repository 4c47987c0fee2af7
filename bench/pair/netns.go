package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

const (
	uncapped = "uncapped"
	device   = "hop"
	nearIP   = "10.9.0.1"
	farIP    = "10.9.0.2"
	loopback = "127.0.0.1"
)

// makeLink makes two namespaces with a veth pair between them. Without root, or
// when told so, all takes place on loopback.
func (w *world) makeLink() error {
	w.near.ip, w.far.ip = loopback, loopback
	if w.o.loopback {
		return nil
	}
	near, far := fmt.Sprintf("h2tp-near-%d", os.Getpid()), fmt.Sprintf("h2tp-far-%d", os.Getpid())
	if err := w.ip("netns", "add", near); err != nil {
		if os.Getenv("CI") != "" {
			return err
		}
		w.say("loopback only, no bytes, no packets, no caps: %v", err)
		return nil
	}
	w.near = side{near, nearIP}
	err := w.ip("netns", "add", far)
	if err != nil {
		return err
	}
	w.far = side{far, farIP}
	err = errors.Join(
		w.ip("-n", near, "link", "add", device, "type", "veth", "peer", "name", device, "netns", far),
		w.ip("-n", near, "addr", "add", nearIP+"/24", "dev", device),
		w.ip("-n", far, "addr", "add", farIP+"/24", "dev", device),
	)
	for _, ns := range []string{near, far} {
		err = errors.Join(err, w.ip("-n", ns, "link", "set", "lo", "up"), w.ip("-n", ns, "link", "set", device, "up"))
	}
	for _, ns := range []string{near, far} {
		if err != nil {
			return err
		}
		var c *counter
		if c, err = openCounter(ns); err == nil {
			w.counters = append(w.counters, c)
		}
	}
	return err
}

func (w *world) removeLink() {
	for _, c := range w.counters {
		c.close()
	}
	for _, s := range []side{w.near, w.far} {
		if s.netns != "" {
			exec.Command("ip", "netns", "del", s.netns).Run()
		}
	}
}

func (w *world) ip(args ...string) error { return runTool(exec.CommandContext(w.ctx, "ip", args...)) }

func runTool(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// setLink gives both ends of the link a queue. It also counts: as the kernel hands it
// segments of up to 64 KiB, which a network card would cut, an interface's own counters
// know neither the packets nor their headers, while a queue's do.
func (w *world) setLink(rate string) error {
	if w.near.netns == "" {
		if rate != uncapped {
			w.say("%s: not capped, there is no link", rate)
		}
		return nil
	}
	queue := []string{"pfifo", "limit", "10000"}
	if rate != uncapped {
		// The burst is what the largest such segment needs.
		queue = []string{"tbf", "rate", rate, "burst", "64kb", "latency", "50ms"}
	}
	for _, s := range []side{w.near, w.far} {
		exec.CommandContext(w.ctx, "tc", "-n", s.netns, "qdisc", "del", "dev", device, "root").Run() // there may be none
		args := append([]string{"-n", s.netns, "qdisc", "add", "dev", device, "root"}, queue...)
		if err := runTool(exec.CommandContext(w.ctx, "tc", args...)); err != nil {
			return err
		}
	}
	return nil
}

// traffic is what crossed the link, both ways, Ethernet's 14 bytes a packet included.
type traffic struct {
	Bytes, Packets int
}

func (w *world) traffic() (sum traffic, err error) {
	for _, c := range w.counters {
		t, err := c.read()
		if err != nil {
			return sum, err
		}
		sum.Bytes += t.Bytes
		sum.Packets += t.Packets
	}
	return sum, nil
}
