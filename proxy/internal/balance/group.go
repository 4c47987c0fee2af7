package balance

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Group is a set of members. Its methods, and its members', may be called
// concurrently.
type Group struct {
	cfg  Config
	next atomic.Uint64
	view atomic.Pointer[view]

	mu       sync.Mutex // guards all below
	members  []*Member
	windowAt time.Duration
}

// NewGroup makes a group without members.
func NewGroup(cfg Config) *Group {
	g := &Group{cfg: cfg}
	g.view.Store(new(view))
	return g
}

// NewMember makes a member that stands for value, reachable or not; Replace lets it
// be chosen.
func (g *Group) NewMember(name string, value any, isReached bool) *Member {
	return &Member{Value: value, name: name, seed: KeyOf(name), g: g, isReached: isReached, isPassing: true, capacity: 1}
}

// Entry is a member and how it is weighed.
type Entry struct {
	*Member
	Weight int // 1 at least
	Tier   int
}

// Replace makes these the members, at once. Those that are members keep their health,
// and what the others have in flight is not touched. Newcomers start slowly, if
// areSlow says so.
func (g *Group) Replace(now time.Duration, entries []Entry, areSlow bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before := g.members
	g.members = make([]*Member, len(entries))
	for i, e := range entries {
		m := e.Member
		g.members[i] = m
		m.weight, m.tier = float64(max(e.Weight, 1)), e.Tier
		if !slices.Contains(before, m) {
			m.isNew, m.healthyAt = !areSlow, now
			m.isStarting = areSlow && g.cfg.SlowStart > 0
		}
	}
	g.buildLocked(now)
}

// Members returns all members.
func (g *Group) Members() []*Member {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.members)
}

// Healthy is the share of the members' weight that is healthy, and 0 when there
// are none.
func (g *Group) Healthy() float64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	all, up := 0.0, 0.0
	for _, m := range g.members {
		all += m.weight
		if m.healthLocked() == healthy {
			up += m.weight * m.capacity
		}
	}
	if all == 0 {
		return 0
	}
	return up / all
}

// change applies f, and makes another view when that changed the health of m.
func (g *Group) change(now time.Duration, m *Member, f func()) (isChanged bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	before, capacity := m.healthLocked(), m.capacity
	f()
	after := m.healthLocked()
	if before == after && capacity == m.capacity {
		return false
	}
	g.changedLocked(now, m, before, after)
	g.buildLocked(now)
	return before != after
}

func (g *Group) changedLocked(now time.Duration, m *Member, before, after health) {
	if after != healthy || before == healthy {
		return
	}
	m.healthyAt = now
	m.isStarting = g.cfg.SlowStart > 0 && !m.isNew
	m.isNew = false
}

// Reach notes whether a connection to m stands or can be made. It reports whether
// that is news.
func (g *Group) Reach(now time.Duration, m *Member, isReached bool) bool {
	return g.change(now, m, func() {
		if m.isReached, m.downUntil = isReached, 0; isReached {
			m.downs = 0
		}
	})
}

// Refused notes a dial that failed: m is out for a while, that grows.
func (g *Group) Refused(now time.Duration, m *Member) bool {
	return g.change(now, m, func() {
		if m.isReached {
			m.downUntil = now + min(downTime<<min(m.downs, 8), maxDownTime)
			m.downs++
		}
		m.isReached = false
	})
}

// Check notes what active checks found.
func (g *Group) Check(now time.Duration, m *Member, isPassing bool) bool {
	return g.change(now, m, func() {
		if m.isPassing = isPassing; isPassing && m.downUntil > 0 {
			m.isReached, m.downUntil, m.downs = true, 0, 0
		}
	})
}

// Capacity notes the share of what is behind m that is up, 0 to 1.
func (g *Group) Capacity(now time.Duration, m *Member, share float64) bool {
	return g.change(now, m, func() { m.capacity = min(max(share, 0), 1) })
}

// eject puts m out for its failures, unless too many are.
func (g *Group) eject(m *Member, now time.Duration) {
	g.change(now, m, func() { g.ejectLocked(m, now) })
}

func (g *Group) ejectLocked(m *Member, now time.Duration) {
	n := 1
	for _, x := range g.members {
		if x.isEjected {
			n++
		}
	}
	if m.isEjected || float64(n) > g.cfg.MaxEjected*float64(len(g.members)) || len(g.members) == 1 {
		return
	}
	m.isEjected = true
	m.out.Add(1)
	m.until = now + g.cfg.EjectTime<<min(m.ejections, 6)
	m.ejections++
}

// Sweep lets those back in whose time is over, and those start whose share
// grows. It is to be called some ten times a second.
func (g *Group) Sweep(now time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	isOver := now-g.windowAt >= shareWindow
	isChanged := false
	for _, m := range g.members {
		before := m.healthLocked()
		if !m.isReached && m.downUntil > 0 && now >= m.downUntil {
			m.isReached, m.downUntil = true, 0
		}
		if m.isEjected && now >= m.until {
			m.isEjected = false
			m.row.Store(int32(max(g.cfg.EjectAfter-1, 0))) // one more, and it is out again
			m.good.Store(0)
			m.bad.Store(0)
		}
		good, bad := m.good.Load(), m.bad.Load()
		if g.cfg.EjectShare > 0 && good+bad >= shareLeast && float64(bad) >= g.cfg.EjectShare*float64(good+bad) {
			g.ejectLocked(m, now)
		}
		if isOver {
			m.good.Store(0)
			m.bad.Store(0)
		}
		after := m.healthLocked()
		g.changedLocked(now, m, before, after)
		if after == healthy && now-m.healthyAt >= forgetAfter {
			m.ejections, m.downs = 0, 0
		}
		isChanged = isChanged || before != after || m.isStarting
	}
	if isOver {
		g.windowAt = now
	}
	if isChanged {
		g.buildLocked(now)
	}
}
