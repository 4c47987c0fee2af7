// Command pair measures a pair of proxies as users run them: processes, sockets
// and a link. The client and the front are in one network namespace, the back
// and the upstream in another; between them is a veth pair, off which bytes and
// packets are read. CPU is the kernel's account of each process. Peers of h2tp
// take turns in the same run. ../README.md has the method and the figures.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// roles are what the program is when it starts itself as part of a measurement.
var roles = map[string]func(args []string) error{
	"load":        runLoad,
	"upstream":    runUpstream,
	"flate-front": runFlateFront,
	"flate-back":  runFlateBack,
	"corpus":      runCorpus,
}

func main() {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "pair:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parseOptions(args)
	if err != nil {
		return err
	}
	w, err := newWorld(ctx, o, stdout)
	if err != nil {
		return err
	}
	defer w.close()
	r := &report{Machine: machine(), Args: args, Begun: time.Now().UTC().Truncate(time.Second)}
	if o.xz {
		r.Limits = limits(o)
	}
	for _, isTLS := range o.tlsModes() {
		peers, err := w.startPeers(isTLS)
		if err != nil {
			return err
		}
		for _, c := range o.cells(isTLS) {
			if err := w.measureCell(ctx, r, c, peers); err != nil {
				return err
			}
			r.writeCell(stdout, c)
		}
		for _, p := range peers {
			p.stop()
		}
	}
	return r.writeFiles(o.out, stdout)
}

// measureCell runs the rounds of one cell: in each, every peer has its turn, and
// each round begins with another one.
func (w *world) measureCell(ctx context.Context, r *report, c cell, peers []*peer) error {
	if err := w.setLink(c.link); err != nil {
		return err
	}
	for round := range w.o.rounds {
		for i := range peers {
			p := peers[(i+round)%len(peers)]
			m, err := w.measure(ctx, p, c)
			for again := 0; err == nil && m.isLate && again < 5; again++ {
				m, err = w.measure(ctx, p, c)
			}
			if err != nil {
				return fmt.Errorf("%s, %s: %w", c, p.name, err)
			}
			m.Cell, m.Round = c.String(), round
			r.Measurements = append(r.Measurements, m)
		}
	}
	return nil
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

func newFlagSet(name string) *flag.FlagSet {
	return flag.NewFlagSet(name, flag.ExitOnError)
}
