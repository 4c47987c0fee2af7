package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A world is where the measurements take place: the link, the two sides of it, the
// files of the peers and their processes.
type world struct {
	o        options
	stdout   io.Writer
	ctx      context.Context // of the run: its end is the processes' end
	dir      string
	self     string
	near     side       // of the client and the fronts
	far      side       // of the backs and the upstream
	counters []*counter // of both sides; none on loopback
	upstream *process
	upAddr   string // as seen from the far side
	port     int
	at       uint64 // where in its corpus the next measurement begins
}

// A side is a network namespace, or this one when netns is empty.
type side struct {
	netns, ip string
}

func newWorld(ctx context.Context, o options, stdout io.Writer) (_ *world, err error) {
	w := &world{o: o, stdout: stdout, ctx: ctx, port: 10000}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if w.dir, err = os.MkdirTemp("", "h2tp-pair-"); err != nil {
		return nil, err
	}
	if err := w.makeLink(); err != nil {
		return nil, err
	}
	if w.o.h2tp == "" {
		w.o.h2tp = filepath.Join(w.dir, "h2tp")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", w.o.h2tp, "github.com/h2tp/h2tp/cmd/h2tp").CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build: %w: %s", err, out)
		}
	}
	if err := w.makeCerts(); err != nil {
		return nil, err
	}
	w.upAddr = addr("127.0.0.1", w.newPort())
	_, port, _ := net.SplitHostPort(w.upAddr)
	w.upstream, err = w.start(w.far, "upstream", "upstream", w.self, "upstream", ":"+port, w.o.allCorpora())
	return w, err
}

// makeCerts makes certificates for the back, and a file that HAProxy reads.
func (w *world) makeCerts() error {
	if out, err := exec.CommandContext(w.ctx, w.o.h2tp, "certs", "init", w.path("tls"), w.far.ip).CombinedOutput(); err != nil {
		return fmt.Errorf("h2tp certs init: %w: %s", err, out)
	}
	cert, err := os.ReadFile(w.path("tls/back.pem"))
	key, err2 := os.ReadFile(w.path("tls/back-key.pem"))
	return errors.Join(err, err2, os.WriteFile(w.path("tls/both.pem"), append(append(cert, '\n'), key...), 0o600))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) say(format string, args ...any) { fmt.Fprintf(w.stdout, format+"\n", args...) }

// newPort is a port nobody listens on: in namespaces of our own, any.
func (w *world) newPort() int {
	if w.near.netns == "" {
		if ln, err := net.Listen("tcp", "127.0.0.1:0"); err == nil {
			defer ln.Close()
			return ln.Addr().(*net.TCPAddr).Port
		}
	}
	w.port++
	return w.port
}

func addr(ip string, port int) string { return fmt.Sprintf("%s:%d", ip, port) }

// onLink is an address across the link, onLoopback one beside it.
func (w *world) onLink() string     { return addr(w.far.ip, w.newPort()) }
func (w *world) onLoopback() string { return addr("127.0.0.1", w.newPort()) }

func (w *world) close() {
	if w.upstream != nil {
		w.upstream.stop()
	}
	w.removeLink()
	os.RemoveAll(w.dir)
}

// awaitListener waits until something accepts at an address of a side, or the
// process that should has ended.
func (w *world) awaitListener(s side, p *process, addr string) error {
	_, port, _ := net.SplitHostPort(addr)
	var n int
	fmt.Sscan(port, &n)
	want := fmt.Sprintf(":%04X ", n)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && w.ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.endc:
			return fmt.Errorf("%s ended: %s", p.name, p.log())
		default:
		}
		// The tables of the process's own namespace.
		for _, table := range []string{"tcp", "tcp6"} {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", p.cmd.Process.Pid, table))
			for line := range strings.Lines(string(b)) {
				if f := strings.Fields(line); len(f) > 3 && f[3] == "0A" && strings.Contains(f[1]+" ", want) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%s does not listen at %s: %s", p.name, addr, p.log())
}
