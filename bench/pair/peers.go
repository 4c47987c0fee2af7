package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// A peer is what stands between the client and the upstream.
type peer struct {
	name      string
	addr      string     // where the client goes
	processes []*process // a front and a back, or none
}

func (p *peer) stop() {
	for _, proc := range p.processes {
		proc.stop()
	}
}

func (p *peer) logs() string {
	var b strings.Builder
	for _, proc := range p.processes {
		fmt.Fprintf(&b, "%s: %s\n", proc.name, proc.log())
	}
	return b.String()
}

// A kind is a peer that can be started.
type kind struct {
	name    string
	program string // that must be there
	start   func(w *world, p *peer, isTLS bool) error
	isExtra bool // takes part only when -peers names it
}

func (o options) kinds() []kind {
	h2tp := func(name, binary string, flags ...string) kind {
		return kind{name: name, program: binary, start: func(w *world, p *peer, isTLS bool) error {
			return w.startH2TP(p, binary, isTLS, flags, nil)
		}}
	}
	kinds := []kind{
		{name: "none", start: (*world).startNone},
		h2tp("h2tp-none", o.h2tp, "--compress", "none"),
		h2tp("h2tp-snappy", o.h2tp, "--compress", "snappy"),
		h2tp("h2tp-zstd", o.h2tp),
		{name: "h2tp-pipe", program: o.h2tp, isExtra: true, start: func(w *world, p *peer, isTLS bool) error {
			return w.startH2TP(p, o.h2tp, isTLS, []string{"--compress", "none"}, []string{"--pipeline", "32"})
		}},
	}
	if o.strong != "" {
		kinds = append(kinds, h2tp("h2tp-strong", o.h2tp, strings.Fields(o.strong)...))
	}
	if o.base != "" {
		kinds = append(kinds, h2tp("base-none", o.base, "--compress", "none"), h2tp("base-zstd", o.base))
	}
	return append(kinds,
		kind{name: "nginx", program: "nginx", start: func(w *world, p *peer, isTLS bool) error { return w.startNginx(p, isTLS, false) }},
		kind{name: "nginx-gzip", program: "nginx", start: func(w *world, p *peer, isTLS bool) error { return w.startNginx(p, isTLS, true) }},
		kind{name: "haproxy", program: "haproxy", start: (*world).startHAProxy},
		kind{name: "flate", start: (*world).startFlate},
	)
}

// startPeers starts all that take part. One whose program is missing is skipped
// with a word, save in CI.
func (w *world) startPeers(isTLS bool) ([]*peer, error) {
	var peers []*peer
	for _, k := range w.o.kinds() {
		if !w.o.wants(k.name) || k.isExtra && len(w.o.peers) == 0 {
			continue
		}
		if _, err := exec.LookPath(sbin(k.program)); k.program != "" && err != nil {
			if os.Getenv("CI") != "" {
				return nil, err
			}
			w.say("%s: skipped: %v", k.name, err)
			continue
		}
		p := &peer{name: k.name}
		peers = append(peers, p) // the world's end is its processes' end, too
		if err := k.start(w, p, isTLS); err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
	}
	return peers, nil
}

// startNone is straight over the link, always in the clear.
func (w *world) startNone(p *peer, _ bool) error {
	_, port, _ := strings.Cut(w.upAddr, ":")
	p.addr = w.far.ip + ":" + port
	return w.awaitListener(w.far, w.upstream, w.upAddr)
}

// startEnd starts one process of a peer and waits until it listens.
func (w *world) startEnd(p *peer, s side, role, listen, program string, args ...string) error {
	proc, err := w.start(s, role, p.name+"-"+role, program, args...)
	if err != nil {
		return err
	}
	p.processes = append(p.processes, proc)
	if role == "front" {
		p.addr = listen
	}
	return w.awaitListener(s, proc, listen)
}
