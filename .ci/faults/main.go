// Command faults kills, stops, cuts off and restarts backs and upstreams, one at a time and
// under load: faults H2TP
//
// No GET may fail at any time. Of POSTs those may that were in flight at the victim, none
// when it was told to end, and none may run twice. How long it took until all was
// normal again is printed.
package main

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 4 && os.Args[1] == "upstream" {
		serveUpstream(os.Args[2], os.Args[3])
		return
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}

// Silence is found by a ping after a second, that is waited for two, or by two checks of a second at most.
const found = 4500 * time.Millisecond

// bound is ten times what it takes until all is normal, and more.
const bound = 40 * time.Second

func run(h2tp string) error {
	for _, part := range []struct {
		isRelayed bool
		faults    []fault
	}{
		{false, []fault{
			{"back killed", (*world).back, kill, start, 1500 * time.Millisecond, posters},
			{"back stopped", (*world).back, send(syscall.SIGSTOP), send(syscall.SIGCONT), found, posters},
			{"back told to end", (*world).back, end, start, 500 * time.Millisecond, 0},
			{"upstream killed", (*world).upstream, kill, start, 1500 * time.Millisecond, posters},
			{"upstream stopped", (*world).upstream, send(syscall.SIGSTOP), send(syscall.SIGCONT), found, posters},
			{"upstream told to end", (*world).upstream, end, start, 500 * time.Millisecond, 0},
		}},
		{true, []fault{
			{"back cut off", (*world).back, cut, join, found, posters},
			{"upstream cut off", (*world).upstream, cut, join, found, posters},
		}},
	} {
		if err := runPart(h2tp, part.isRelayed, part.faults); err != nil {
			return err
		}
	}
	return nil
}

func runPart(h2tp string, isRelayed bool, faults []fault) (err error) {
	w, err := newWorld(h2tp, isRelayed)
	defer func() { w.close(err) }()
	if err != nil {
		return err
	}
	if !isRelayed {
		if err := w.spread(); err != nil {
			return err
		}
	}
	l := startLoad(w.front.addr)
	defer l.stop()
	for i, f := range faults {
		if err := w.suffer(l, f, i%3); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	l.stop()
	return w.postedOnce()
}

// fault is something that happens to a back or an upstream, and is then undone.
type fault struct {
	name     string
	victim   func(w *world, i int) *process
	do, undo func(*process) error
	last     time.Duration // how long it lasts
	maxPosts int           // that may fail
}

func (w *world) back(i int) *process     { return w.backs[i] }
func (w *world) upstream(i int) *process { return w.upstreams[i] }

// suffer has one fault happen, and judges what clients noticed.
func (w *world) suffer(l *load, f fault, i int) error {
	v := f.victim(w, i)
	if !l.settle(bound) {
		return fmt.Errorf("it is not normal before")
	}
	began := time.Now()
	if err := f.do(v); err != nil {
		return err
	}
	time.Sleep(f.last)
	undone := time.Now()
	if err := f.undo(v); err != nil {
		return err
	}
	before, err := w.served(v)
	if err != nil {
		return err
	}
	isUsed := false
	for !isUsed && time.Since(undone) < bound {
		time.Sleep(20 * time.Millisecond)
		now, err := w.served(v)
		isUsed = err == nil && now > before
	}
	used := time.Since(undone)
	if !isUsed {
		return fmt.Errorf("it has nothing to do %v after it is back", bound)
	}
	if !l.settle(bound) {
		return fmt.Errorf("it is not normal afterwards")
	}
	r := l.since(began)
	fmt.Printf("   %-22s %5d GETs, %d failed, normal after %4d ms; %5d POSTs, %d failed, normal after %5d ms; used again after %4d ms\n", f.name+":",
		r.gets, len(r.failedGets), r.normalGets.Milliseconds(), r.posts, len(r.failedPosts), r.normalPosts.Milliseconds(), used.Milliseconds())
	switch {
	case len(r.failedGets) > 0:
		return fmt.Errorf("failed GETs: %v", r.failedGets[:min(5, len(r.failedGets))])
	case len(r.failedPosts) > f.maxPosts:
		return fmt.Errorf("%d failed POSTs; want %d at most: %v", len(r.failedPosts), f.maxPosts, r.failedPosts[:min(5, len(r.failedPosts))])
	case r.gets < 20 || r.posts < 20:
		return fmt.Errorf("%d GETs and %d POSTs are no load", r.gets, r.posts)
	}
	return nil
}

// postedOnce looks whether a POST came to upstreams twice.
func (w *world) postedOnce() error {
	ran := make(map[string]int)
	for i := range w.upstreams {
		p, err := os.ReadFile(filepath.Join(w.dir, fmt.Sprintf("posts%d.txt", i)))
		if err != nil {
			return err
		}
		for id := range strings.FieldsSeq(string(p)) {
			if ran[id]++; ran[id] > 1 {
				return fmt.Errorf("POST %s ran twice", id)
			}
		}
	}
	if len(ran) == 0 {
		return fmt.Errorf("no POST ran")
	}
	fmt.Printf("   %d POSTs ran, none twice\n", len(ran))
	return nil
}

// served is how many exchanges the front, or the backs, have given to a process.
func (w *world) served(v *process) (n int, err error) {
	admins := []string{w.front.admin}
	if v.admin == "" { // an upstream
		admins = nil
		for _, b := range w.backs {
			admins = append(admins, b.admin)
		}
	}
	for _, a := range admins {
		k, err := attempts(a, v.url())
		if err != nil {
			return 0, err
		}
		n += k
	}
	return n, nil
}

// attempts are those at a destination that were answered.
func attempts(admin, destination string) (int, error) {
	return gauge(admin, "h2tp_destination_attempts_total{", destination)
}

// gauge is the sum of what the admin listener says of a destination.
func gauge(admin, metric, destination string) (n int, err error) {
	resp, err := http.Get("http://" + admin + "/metrics")
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		line := s.Text()
		if strings.HasPrefix(line, metric) && strings.Contains(line, `destination="`+destination+`"`) {
			var k int
			if _, err := fmt.Sscan(line[strings.LastIndexByte(line, ' ')+1:], &k); err != nil {
				return 0, err
			}
			n += k
		}
	}
	io.Copy(io.Discard, resp.Body)
	return n, nil
}
