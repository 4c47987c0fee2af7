package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a front, a back or an upstream.
type process struct {
	name   string
	addr   string // where it listens
	scheme string
	admin  string // of its admin listener
	relay  *relay // before it, if there is one
	args   []string
	dir    string

	cmd   *exec.Cmd
	donec chan struct{} // closed when it has ended
	err   error         // how
}

// url is what names it as a destination.
func (p *process) url() string {
	if p.relay != nil {
		return p.scheme + "://" + p.relay.addr
	}
	return p.scheme + "://" + p.addr
}

func start(p *process) error {
	log, err := os.OpenFile(filepath.Join(p.dir, p.name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd = exec.Command(p.args[0], p.args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	p.donec = make(chan struct{})
	go func() {
		p.err = p.cmd.Wait()
		close(p.donec)
	}()
	for until := time.Now().Add(10 * time.Second); time.Now().Before(until); time.Sleep(5 * time.Millisecond) {
		if nc, err := net.Dial("tcp", p.addr); err == nil {
			return nc.Close()
		}
	}
	return fmt.Errorf("%s does not listen at %s", p.name, p.addr)
}

// send makes a fault of a signal.
func send(s os.Signal) func(*process) error {
	return func(p *process) error { return p.cmd.Process.Signal(s) }
}

func kill(p *process) error {
	err := p.cmd.Process.Kill()
	<-p.donec
	return err
}

// end tells it to end, and waits until it has.
func end(p *process) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.donec:
		return p.err
	case <-time.After(20 * time.Second):
		return fmt.Errorf("%s has not ended after 20 s", p.name)
	}
}

func cut(p *process) error  { p.relay.cut(true); return nil }
func join(p *process) error { p.relay.cut(false); return nil }

// world is a front, three backs and three upstreams.
type world struct {
	dir, h2tp        string
	front            *process
	backs, upstreams []*process
	running          []*process
	relays           []*relay
}

const count = 3

func newWorld(h2tp string, isRelayed bool) (*world, error) {
	w := &world{h2tp: h2tp}
	var err error
	if w.dir, err = os.MkdirTemp("", "faults"); err != nil {
		return w, err
	}
	self, err := os.Executable()
	if err != nil {
		return w, err
	}
	ports, err := freePorts(4*count + 2)
	if err != nil {
		return w, err
	}
	next := func() string { a := ports[0]; ports = ports[1:]; return a }
	for i := range count {
		p := &process{name: fmt.Sprintf("upstream%d", i), addr: next(), scheme: "http"}
		p.args = []string{self, "upstream", p.addr, filepath.Join(w.dir, fmt.Sprintf("posts%d.txt", i))}
		if err := w.add(p, isRelayed); err != nil {
			return w, err
		}
		w.upstreams = append(w.upstreams, p)
	}
	for i := range count {
		p := &process{name: fmt.Sprintf("back%d", i), addr: next(), scheme: "h2tpc", admin: next()}
		p.args = w.serve(p, w.upstreams, "--check-path", "/check", "--check-period", "500ms", "--check-timeout", "1s", "--check-fall", "2", "--check-rise", "1")
		if err := w.add(p, isRelayed); err != nil {
			return w, err
		}
		w.backs = append(w.backs, p)
	}
	w.front = &process{name: "front", addr: next(), scheme: "http", admin: next()}
	w.front.args = w.serve(w.front, w.backs)
	return w, w.add(w.front, false)
}

// serve are the arguments of an h2tp. Its pings are soon, and no longer waited for than a
// busy machine needs.
func (w *world) serve(p *process, to []*process, more ...string) []string {
	args := []string{w.h2tp, "serve", "--listen", p.url(), "--admin", "http://" + p.admin,
		"--ping-period", "1s", "--ping-timeout", "2s", "--timeout", "8s", "--slow-start", "off"}
	for i, t := range to {
		url := t.url()
		if p.name == "weighted" {
			url += fmt.Sprintf(";weight=%d", i+1)
		}
		args = append(args, "--to", url)
	}
	return append(args, more...)
}

// add starts a process, with a relay before it where one is wanted.
func (w *world) add(p *process, isRelayed bool) error {
	p.dir = w.dir
	if err := start(p); err != nil {
		return err
	}
	w.running = append(w.running, p)
	if !isRelayed {
		return nil
	}
	var err error
	if p.relay, err = startRelay(p.addr); err == nil {
		w.relays = append(w.relays, p.relay)
	}
	return err
}

// close ends all, and shows the logs when something was wrong.
func (w *world) close(err error) {
	for _, p := range w.running {
		p.cmd.Process.Kill()
		<-p.donec
	}
	for _, r := range w.relays {
		r.close()
	}
	if err != nil {
		logs, _ := filepath.Glob(filepath.Join(w.dir, "*.log"))
		for _, name := range logs {
			b, _ := os.ReadFile(name)
			lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
			fmt.Printf("-- %s\n%s\n", filepath.Base(name), bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
		}
	}
	os.RemoveAll(w.dir)
}

// freePorts are addresses where nobody listens.
func freePorts(n int) (addrs []string, err error) {
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer ln.Close()
		addrs = append(addrs, ln.Addr().String())
	}
	return addrs, nil
}

// spread has clients ask through a front that gives its backs the weights 1, 2 and 3.
func (w *world) spread() error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	p := &process{name: "weighted", addr: ports[0], scheme: "http", admin: ports[1]}
	p.args = w.serve(p, w.backs)
	if err := w.add(p, false); err != nil {
		return err
	}
	defer kill(p)
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) { // all backs are reached
		if resp, err := http.Get("http://" + p.admin + "/readyz"); err == nil {
			resp.Body.Close()
		}
		ready := 0
		for _, b := range w.backs {
			if isUp, err := gauge(p.admin, `h2tp_destination_up{`, b.url()); err == nil && isUp == 1 {
				ready++
			}
		}
		if ready == count {
			break
		}
		if time.Now().After(until) {
			return fmt.Errorf("not all backs are reached")
		}
	}
	l := startLoad(p.addr)
	time.Sleep(4 * time.Second)
	l.stop()
	var had [count]int
	total := 0
	for i, b := range w.backs {
		if had[i], err = attempts(p.admin, b.url()); err != nil {
			return err
		}
		total += had[i]
	}
	fmt.Printf("   spread by weights 1, 2 and 3: %v of %d\n", had, total)
	for i, n := range had {
		want := float64(total) * float64(i+1) / 6
		if d := float64(n) - want; d > 0.05*want || d < -0.05*want {
			return fmt.Errorf("weight %d had %d; want %.0f, within 5 %%", i+1, n, want)
		}
	}
	return nil
}
