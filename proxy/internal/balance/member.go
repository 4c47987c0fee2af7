package balance

import (
	"math"
	"sync/atomic"
	"time"
)

// Member is one of a group.
type Member struct {
	// Immutable.
	Value any // what it stands for
	name  string
	seed  uint64 // of its draws with Hash
	g     *Group

	load    atomic.Int64
	latency atomic.Uint64 // bits of a float64, in ns
	timed   atomic.Int64  // when latency was set
	row     atomic.Int32  // failures in a row
	good    atomic.Int32  // in this window
	bad     atomic.Int32
	out     atomic.Int64 // ejections ever
	isFull  atomic.Bool

	// Guarded by Group.mu.
	weight     float64
	tier       int
	isNew      bool // never was in use
	isReached  bool // a connection can be made
	isPassing  bool // active checks
	isEjected  bool
	capacity   float64 // share of what is behind it that is up
	until      time.Duration
	ejections  int
	downUntil  time.Duration // 0: until told otherwise
	downs      int
	healthyAt  time.Duration // since when it is healthy
	isStarting bool          // slowly
	effective  float64       // weight, as of now
}

// Name is what the member was added as.
func (m *Member) Name() string { return m.name }

// Weight is its share beside the weights of others of its tier, the lowest of which is first.
func (m *Member) Weight() (weight, tier int) {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	return int(m.weight), m.tier
}

// Ejections is how often it was put out for its failures.
func (m *Member) Ejections() int64 { return m.out.Load() }

// Load is the number of exchanges it has.
func (m *Member) Load() int { return int(m.load.Load()) }

// Full notes whether m has room: one that has none is chosen when no other has.
func (m *Member) Full(isFull bool) { m.isFull.Store(isFull) }

// IsFull reports what Full was told last.
func (m *Member) IsFull() bool { return m.isFull.Load() }

// Begin notes that an exchange goes to m.
func (m *Member) Begin() { m.load.Add(1) }

// Drop notes that an exchange left.
func (m *Member) Drop() { m.load.Add(-1) }

// Done is Note and Drop.
func (m *Member) Done(now, took time.Duration, isFailed bool) {
	m.load.Add(-1)
	m.Note(now, took, isFailed)
}

// Note notes how long an answer took, and whether it was a failure.
func (m *Member) Note(now, took time.Duration, isFailed bool) {
	if !isFailed {
		m.good.Add(1)
		if m.row.Load() != 0 {
			m.row.Store(0)
		}
		if m.g.cfg.Policy == Latency {
			m.observe(now, took)
		}
		return
	}
	m.bad.Add(1)
	if m.g.cfg.Policy == Latency && took > time.Duration(math.Float64frombits(m.latency.Load())) {
		m.observe(now, took) // a failure may be late, but is no quick answer
	}
	if n := m.row.Add(1); m.g.cfg.EjectAfter > 0 && int(n) >= m.g.cfg.EjectAfter {
		m.g.eject(m, now)
	}
}

const latencyFade = 10 * time.Second

// observe takes a higher latency at once and lets a lower one sink in.
func (m *Member) observe(now, took time.Duration) {
	old := math.Float64frombits(m.latency.Load())
	v := float64(max(took, 1))
	if old > v {
		w := fade(now - time.Duration(m.timed.Load()))
		// Even many samples at one instant count for something.
		w = min(w, 0.9)
		v = old*w + v*(1-w)
	}
	m.latency.Store(math.Float64bits(v)) // a sample lost to another is no loss
	m.timed.Store(int64(now))
}

func fade(d time.Duration) float64 { return math.Exp(-float64(max(d, 0)) / float64(latencyFade)) }

// health of a member.
type health uint8

const (
	unreachable health = iota // no connection: known
	judged                    // by its answers
	healthy
)

func (m *Member) healthLocked() health {
	switch {
	case !m.isReached:
		return unreachable
	case m.isEjected || !m.isPassing || m.capacity == 0:
		return judged
	}
	return healthy
}

// Why says why a member is out, or nothing.
func (m *Member) Why() string {
	m.g.mu.Lock()
	defer m.g.mu.Unlock()
	switch {
	case !m.isReached:
		return "unreachable"
	case m.isEjected:
		return "ejected"
	case !m.isPassing:
		return "check"
	case m.capacity == 0:
		return "upstreams"
	}
	return ""
}
