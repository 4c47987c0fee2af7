package proxy

import (
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"
)

// simNet is the network of a simulation. What it does to a connection depends on the
// seed, the address and how many were dialled there before.
type simNet struct {
	seed   uint64
	faulty float64       // share of a connection's directions that break by themselves
	slow   time.Duration // longest delay of a piece

	mu        sync.Mutex // guards all below
	listeners map[string]*simListener
	pairs     map[*simPair]struct{}
	dialled   map[string]int
	state     map[string]simState
	count     int
	isCalm    bool
}

// simState is how an address fares.
type simState int

const (
	reachable simState = iota
	refused            // dials fail at once
	frozen             // nothing goes through, dials included
)

func newSimNet(seed uint64, faulty float64, slow time.Duration) *simNet {
	return &simNet{
		seed: seed, faulty: faulty, slow: slow,
		listeners: make(map[string]*simListener), pairs: make(map[*simPair]struct{}), dialled: make(map[string]int), state: make(map[string]simState),
	}
}

// randomOf is the source of chance of one thing, whatever else happens when.
func randomOf(seed uint64, name string, number int) *rand.Rand {
	var sum uint64 = 14695981039346656037
	for _, b := range []byte(name) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(seed, sum+uint64(number)*0x9e3779b97f4a7c15))
}

func (n *simNet) delay(random *rand.Rand) time.Duration {
	if n.slow == 0 {
		return 0
	}
	return time.Duration(random.Int64N(int64(n.slow)))
}

func (n *simNet) dial(_, addr string, timeout time.Duration) (net.Conn, error) {
	n.mu.Lock()
	number := n.dialled[addr]
	n.dialled[addr]++
	random := randomOf(n.seed, addr, number)
	state := n.state[addr]
	ln := n.listeners[addr]
	n.mu.Unlock()
	time.Sleep(n.delay(random))
	switch {
	case state == frozen:
		time.Sleep(timeout)
		return nil, os.ErrDeadlineExceeded
	case state == refused || ln == nil:
		return nil, syscall.ECONNREFUSED
	}
	n.mu.Lock()
	n.count++
	p := newSimPair(n, addr, n.count, random)
	if n.isCalm {
		p.heal()
	}
	p.isFrozen = n.state[addr] == frozen
	n.pairs[p] = struct{}{}
	n.mu.Unlock()
	select {
	case ln.connc <- p.ends[1]:
		return p.ends[0], nil
	case <-ln.donec:
		n.forget(p)
		return nil, syscall.ECONNREFUSED
	}
}

func (n *simNet) forget(p *simPair) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.pairs, p)
}

// list returns the connections, those to addr only unless it is empty, in the order they were made.
func (n *simNet) list(addr string) []*simPair {
	n.mu.Lock()
	defer n.mu.Unlock()
	var list []*simPair
	for p := range n.pairs {
		if addr == "" || p.addr == addr {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *simPair) int { return a.number - b.number })
	return list
}

// set changes how an address fares.
func (n *simNet) set(addr string, state simState) {
	n.mu.Lock()
	n.state[addr] = state
	n.mu.Unlock()
	for _, p := range n.list(addr) {
		p.freeze(state == frozen)
	}
}

// kill breaks all connections to an address.
func (n *simNet) kill(addr string) {
	for _, p := range n.list(addr) {
		p.reset()
	}
}

// calm ends all faults.
func (n *simNet) calm() {
	n.mu.Lock()
	n.isCalm = true
	clear(n.state)
	n.mu.Unlock()
	for _, p := range n.list("") {
		p.heal()
	}
}

// listen takes an address, whoever had it before.
func (n *simNet) listen(addr string) net.Listener {
	ln := &simListener{connc: make(chan net.Conn), donec: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[addr] = ln
	return ln
}

// simListener refuses once it is closed.
type simListener struct {
	connc chan net.Conn
	donec chan struct{}
	once  sync.Once
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.connc:
		return nc, nil
	case <-l.donec:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.once.Do(func() { close(l.donec) })
	return nil
}

func (l *simListener) Addr() net.Addr { return &net.TCPAddr{} }
