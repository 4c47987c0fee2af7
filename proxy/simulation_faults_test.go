package proxy

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// simEnd is a front or a back that is stopped and started.
type simEnd struct {
	w       *simWorld
	addr    string
	cfg     Config
	isFront bool
	over    *atomic.Int64 // exchanges that ended, of the one that runs

	mu    sync.Mutex // guards all below
	front *Front
	back  *Back
}

func (e *simEnd) start() {
	cfg := e.cfg
	over := new(atomic.Int64)
	cfg.OnExchange = func(*Exchange) { over.Add(1) }
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = over
	var err error
	if e.isFront {
		if e.front, err = NewFront(cfg); err == nil {
			go e.front.Serve(e.w.outer.listen(e.addr))
		}
	} else if e.back, err = NewBack(cfg); err == nil {
		go e.back.Serve(e.w.net.listen(e.addr))
	}
	if err != nil {
		e.w.t.Fatal(err)
	}
}

// stop ends it, at once or when what runs is over, and looks for what it left.
func (e *simEnd) stop(drains bool) {
	e.mu.Lock()
	f, b := e.front, e.back
	e.mu.Unlock()
	if !drains { // as a process that is killed leaves them
		e.w.net.kill(e.addr)
		e.w.outer.kill(e.addr)
	}
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.LeaveTimeout)
	defer cancel()
	var hop *Hop
	if e.isFront {
		if drains {
			f.Shutdown(ctx)
		}
		f.Close()
		hop = &f.cfg.Hop
	} else {
		if drains {
			b.Shutdown(ctx)
		}
		b.Close()
		hop = &b.cfg.Hop
	}
	e.check()
	if n, w := hop.Memory.Used(), hop.Windows.Used(); n != 0 || w != 0 {
		e.w.t.Errorf("%s: memory of codecs: %d, of windows: %d; want 0", e.addr, n, w)
	}
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.w.counts.Repeats += int(e.route().meter.repeats.Load())
}

func (e *simEnd) route() *route {
	if e.isFront {
		return e.front.route
	}
	return e.back.route
}

// check looks for exchanges that have not ended, or more than once, and for memory that is held.
func (e *simEnd) check() {
	r := e.route()
	load := 0
	set := r.set.Load()
	for _, d := range set.dests {
		load += d.load()
	}
	for _, l := range set.leaving {
		e.w.t.Errorf("%s: %s has not left", e.addr, l.name())
	}
	if n := r.inflight.Load(); n != 0 || load != 0 {
		e.w.t.Errorf("%s: in flight: %d, in charge of destinations: %d; want 0", e.addr, n, load)
	}
	if held := r.memory.used.Load(); held != 0 {
		e.w.t.Errorf("%s: %d bytes held of messages; want 0", e.addr, held)
	}
	for _, m := range r.group.Members() {
		if n := m.Load(); n != 0 {
			e.w.t.Errorf("%s: %s has %d exchanges to balance; want 0", e.addr, m.Name(), n)
		}
	}
	if began, over := r.meter.exchanges.Load()+r.stats.overloads.Load(), e.over.Load(); began != over {
		e.w.t.Errorf("%s: %d exchanges began, %d ended", e.addr, began, over)
	}
}

// breakLoop breaks things, one after another, until there is nobody left to notice.
func (w *simWorld) breakLoop(stopc <-chan struct{}) {
	random := randomOf(w.seed, "faults", 0)
	for {
		timer := time.NewTimer(time.Duration(random.IntN(400)) * time.Millisecond)
		select {
		case <-timer.C:
		case <-stopc:
			timer.Stop()
			return
		}
		switch w.kind {
		case wild:
			w.breakOne(random)
		case gentle:
			w.breakGently(random)
		case polite:
			w.replaceOne(random)
		}
		w.mu.Lock()
		w.counts.Faults++
		w.mu.Unlock()
	}
}

func (w *simWorld) breakOne(random *rand.Rand) {
	pause := func(most int) { time.Sleep(time.Duration(random.IntN(most)) * time.Millisecond) }
	drains := random.IntN(2) == 0
	up, back := pickOf(random, w.ups...), pickOf(random, w.backs...)
	addr := pickOf(random, up.addr, back.addr)
	switch random.IntN(14) {
	case 0, 1:
		up.stop(drains)
		pause(500)
		up.start()
	case 2, 3:
		back.stop(drains)
		pause(500)
		back.start()
	case 4:
		w.net.set(addr, frozen)
		pause(4000)
		if drains { // it is cut off for good
			w.net.kill(addr)
		}
		w.net.set(addr, reachable)
	case 5:
		w.net.set(addr, refused)
		pause(1000)
		w.net.set(addr, reachable)
	case 6:
		if random.IntN(4) == 0 {
			w.front.stop(drains)
			pause(200)
			w.front.start()
		}
	case 7, 8:
		e := pickOf(random, append(w.backs, w.front)...)
		e.replace(random)
	case 9:
		w.breakConn(random, w.outer.list(""))
	default:
		w.breakConn(random, w.net.list(""))
	}
}

// breakGently breaks one back or upstream, and waits until that is over.
func (w *simWorld) breakGently(random *rand.Rand) {
	up, back := pickOf(random, w.ups...), pickOf(random, w.backs...)
	drains := random.IntN(2) == 0
	switch random.IntN(4) {
	case 0:
		up.stop(drains)
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		up.start()
	case 1:
		back.stop(drains)
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		back.start()
	default:
		addr := pickOf(random, up.addr, back.addr)
		w.net.set(addr, frozen)
		time.Sleep(time.Duration(random.IntN(5000)) * time.Millisecond)
		if drains {
			w.net.kill(addr)
		}
		w.net.set(addr, reachable)
	}
	time.Sleep(5 * time.Second) // until checks and pings have passed again
}

// replaceOne restarts a back as one should, or gives an end other destinations.
func (w *simWorld) replaceOne(random *rand.Rand) {
	e := pickOf(random, append(w.backs, w.front)...)
	if e.isFront || random.IntN(2) == 0 {
		e.replace(random)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		e.setTo(e.cfg.To)
	} else {
		e.stop(true)
		time.Sleep(time.Duration(random.IntN(1000)) * time.Millisecond)
		e.start()
	}
	time.Sleep(3 * time.Second) // until it is reached
}

// replace gives an end some of the destinations that it had at first, with other weights.
func (e *simEnd) replace(random *rand.Rand) {
	var to []string
	for _, i := range random.Perm(len(e.cfg.To)) {
		to = append(to, fmt.Sprintf("%s;weight=%d", e.cfg.To[i], 1+random.IntN(3)))
	}
	e.setTo(to[:1+random.IntN(len(to))])
}

func (e *simEnd) setTo(to []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	end := interface{ SetTo([]string) error }(e.back)
	if e.isFront {
		end = e.front
	}
	if err := end.SetTo(to); err != nil {
		e.w.t.Errorf("%s: SetTo %v: %v", e.addr, to, err)
	}
}

// breakConn breaks one of the connections, now or soon.
func (w *simWorld) breakConn(random *rand.Rand, list []*simPair) {
	if len(list) == 0 {
		return
	}
	p := list[random.IntN(len(list))]
	if random.IntN(3) == 0 {
		p.reset()
	} else {
		p.arm(random)
	}
}
