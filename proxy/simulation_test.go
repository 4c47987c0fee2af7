package proxy

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	simSeeds = flag.Int("seeds", 10, "how many simulations TestSimulation runs")
	simSeed  = flag.Uint64("seed", 1, "the first of their seeds; 0 is any")
	simFor   = flag.Duration("simulate", 0, "how long TestSimulation runs, in place of -seeds")
)

// TestSimulation runs a front, backs and upstreams in a bubble, on a network that breaks at
// any byte, while they are stopped, started and replaced. Every exchange ends once and with
// what is its own, no POST runs twice, nothing is left. All chance comes from the seed, but
// for the order in which goroutines that can run do: the same seed makes the same
// faults, and nearly always the same failure.
func TestSimulation(t *testing.T) {
	seed, began := *simSeed, time.Now()
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	total := simCounts{}
	n := 0
	for ; *simFor == 0 && n < *simSeeds || time.Since(began) < *simFor; n++ {
		total.add(simulate(t, seed+uint64(n)))
		if t.Failed() {
			break
		}
	}
	t.Logf("seeds %d to %d: %+v", seed, seed+uint64(n)-1, total)
}

// simulate runs one seed, and names it when anything is wrong.
func simulate(t *testing.T, seed uint64) (counts simCounts) {
	isOver := false
	defer func() {
		if !isOver || t.Failed() { // a deadlock in the bubble panics
			fmt.Fprintf(os.Stderr, "go test ./proxy -run TestSimulation -args -seeds=1 -seed=%d\n", seed)
		}
	}()
	bubble(t, func(t *testing.T) {
		w := newSimWorld(t, seed)
		w.run()
		counts = w.counts
	})
	isOver = true
	return counts
}

// simCounts is what simulations did.
type simCounts struct {
	Exchanges, Answered, Cut, Failed, Faults, Repeats int
}

func (c *simCounts) add(o simCounts) {
	c.Exchanges += o.Exchanges
	c.Answered += o.Answered
	c.Cut += o.Cut
	c.Failed += o.Failed
	c.Faults += o.Faults
	c.Repeats += o.Repeats
}

const simFront = "front:1"

// simKind is what breaks in a simulation, and what has to hold then.
type simKind int

const (
	wild   simKind = iota // all, at any time: what is answered is right, and nothing is left
	gentle                // one back or upstream at a time: a small GET never fails
	polite                // backs drain, and destinations are replaced: nothing fails
	kinds
)

// simWorld is one simulation.
type simWorld struct {
	t       *testing.T
	seed    uint64
	random  *rand.Rand
	outer   *simNet // of the clients
	net     *simNet
	ups     []*simUpstream
	backs   []*simEnd
	front   *simEnd
	clients int
	kind    simKind

	mu     sync.Mutex // guards all below
	runs   map[int]int
	counts simCounts
}

func newSimWorld(t *testing.T, seed uint64) *simWorld {
	random := randomOf(seed, "world", 0)
	faulty := []float64{0, 0.02, 0.1, 0.3}
	slow := []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond}
	w := &simWorld{
		t: t, seed: seed, random: random, runs: make(map[int]int), clients: 2 + random.IntN(12), kind: simKind(seed % uint64(kinds)),
		outer: newSimNet(seed^1, faulty[random.IntN(3)], slow[random.IntN(2)]),
		net:   newSimNet(seed, faulty[random.IntN(4)], slow[random.IntN(4)]),
	}
	if w.kind != wild {
		w.outer.faulty, w.net.faulty = 0, 0
	}
	var to []string
	for i := range 2 + random.IntN(2) {
		u := &simUpstream{w: w, addr: fmt.Sprintf("up%d:80", i)}
		to = append(to, "http://"+u.addr)
		u.start()
		w.ups = append(w.ups, u)
	}
	var backs []string
	for i := range 2 + random.IntN(2) {
		e := &simEnd{w: w, addr: fmt.Sprintf("back%d:1", i), cfg: w.config(to)}
		backs = append(backs, "h2tpc://"+e.addr)
		w.backs = append(w.backs, e)
		e.start()
	}
	w.front = &simEnd{w: w, addr: simFront, cfg: w.config(backs), isFront: true}
	w.front.start()
	return w
}

func pickOf[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// config makes up how one end is configured; each bound is within what the simulation waits.
func (w *simWorld) config(to []string) Config {
	r := w.random
	cfg := Config{
		To: to, Cleartext: true, Dial: w.net.dial,
		Limits: Limits{
			BatchLimit: pickOf(r, 0, 1024, 20_000), Timeout: 5 * time.Second, ConnectTimeout: time.Second, QueueTimeout: pickOf(r, 0, 300*time.Millisecond),
			IdleTimeout: pickOf(r, 500*time.Millisecond, 5*time.Second), ReadTimeout: 4 * time.Second, WriteTimeout: 3 * time.Second,
			MaxUpstreamConns: pickOf(r, 0, 0, 2, 4), Pipeline: pickOf(r, 0, 2, 8), PipelineConns: 1,
		},
		Hop: Hop{
			Compress: Codec(r.IntN(4)), BatchDelay: pickOf(r, 0, time.Millisecond), Conns: 1 + r.IntN(3),
			PingPeriod: 500 * time.Millisecond, PingTimeout: 500 * time.Millisecond,
			StreamMaxAge: pickOf(r, 0, 0, 2*time.Second), MinReady: pickOf(r, 0, 1), MaxReady: pickOf(r, 0, 2),
		},
		Balance: Balance{
			Policy: pickOf(r, "", "", "round-robin", "latency"), EjectTime: 100 * time.Millisecond, SlowStart: pickOf[time.Duration](r, 0, -1),
			LeaveTimeout: 2 * time.Second, CheckPath: pickOf(r, "", "/check"), CheckPeriod: 500 * time.Millisecond, CheckTimeout: 300 * time.Millisecond,
		},
	}
	if cfg.MaxUpstreamConns != 2 {
		cfg.PipelineConns += r.IntN(3)
	}
	if cfg.Pipeline > 0 && cfg.MaxUpstreamConns > 0 {
		cfg.MaxUpstreamConns += cfg.PipelineConns // those may have responses that take long, too
	}
	if w.kind != wild { // there is time, and room, for what has to be waited for
		cfg.Timeout, cfg.LeaveTimeout, cfg.QueueTimeout, cfg.MaxUpstreamConns = 20*time.Second, 20*time.Second, 0, 0
		cfg.CheckPath = "/check"
	}
	return cfg
}

// run lets clients ask while things break, then while nothing does.
func (w *simWorld) run() {
	stopc := make(chan struct{})
	var faults sync.WaitGroup
	faults.Go(func() { w.breakLoop(stopc) })
	w.ask(1, 15, false)
	close(stopc)
	faults.Wait()
	w.net.calm()
	w.outer.calm()
	for _, e := range append(w.backs, w.front) {
		e.setTo(e.cfg.To)
	}
	time.Sleep(30 * time.Second) // what was lost is found, and nobody is left out any more
	w.ask(50, 5, true)
	time.Sleep(15 * time.Second) // idle connections end
	for _, e := range append(w.backs, w.front) {
		e.check()
	}
	w.stop()
	w.judge()
}

// ask has clients make exchanges.
func (w *simWorld) ask(first, exchanges int, isCalm bool) {
	var wg sync.WaitGroup
	for i := range w.clients {
		c := &simClient{w: w, name: first + i, random: randomOf(w.seed, "client", first+i), isCalm: isCalm}
		wg.Go(func() { c.run(exchanges) })
	}
	wg.Wait()
}

// stop ends all, in an order that the seed says.
func (w *simWorld) stop() {
	var wg sync.WaitGroup
	ends := append([]*simEnd{w.front}, w.backs...)
	for _, i := range w.random.Perm(len(ends)) {
		drains := w.random.IntN(2) == 0
		if w.random.IntN(2) == 0 {
			wg.Go(func() { ends[i].stop(drains) })
		} else {
			ends[i].stop(drains)
		}
	}
	wg.Wait()
	for _, u := range w.ups {
		u.stop(true)
	}
	synctest.Wait()
}

// judge looks for what is left.
func (w *simWorld) judge() {
	for _, n := range []*simNet{w.net, w.outer} {
		for _, p := range n.list("") {
			w.t.Errorf("a connection to %s is left", p.addr)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.counts.Answered == 0 {
		w.t.Error("nothing was answered")
	}
}

// ran counts what comes to an upstream.
func (w *simWorld) ran(x simExchange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[x.id]++
	most := 1
	if isSafeMethod([]byte(x.method)) {
		most = 4 // the front twice, and each of two backs
	}
	if n := w.runs[x.id]; n > most {
		w.t.Errorf("%v came to an upstream %d times", x, n)
	}
}

// ended counts how an exchange ended for its client.
func (w *simWorld) ended(x simExchange, status int, isWhole bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.Exchanges++
	switch {
	case !isWhole:
		w.counts.Cut++
	case status != 200:
		w.counts.Failed++
	default:
		w.counts.Answered++
		if w.runs[x.id] == 0 {
			w.t.Errorf("%v was answered, and never ran", x)
		}
	}
}

func (w *simWorld) currentFront() *Front {
	w.front.mu.Lock()
	defer w.front.mu.Unlock()
	return w.front.front
}
