package balance

import (
	"slices"
	"time"
)

// view is what is chosen from; immutable.
type view struct {
	tiers []tier
	out   []*Member // those in none of them that can be reached: a last resort
}

// tier is the members of a tier that are in use.
type tier struct {
	upTo    float64 // the share of choices of the tiers up to this
	members []*Member
	weights []float64
	sums    []float64 // of weights, up to and with each
	nominal []float64 // weights of those in full health
}

func (t *tier) total() float64 { return t.sums[len(t.sums)-1] }

// buildLocked makes the view. A tier takes what its healthy members, 1.4 times,
// can bear; the rest goes to the next. When all together bear less than the
// whole, the share of each grows, and one with too few healthy members uses what
// it judged unhealthy, too.
func (g *Group) buildLocked(now time.Duration) {
	v := new(view)
	byTier := make(map[int][]*Member)
	var numbers []int
	for _, m := range g.members {
		if byTier[m.tier] == nil {
			numbers = append(numbers, m.tier)
		}
		byTier[m.tier] = append(byTier[m.tier], m)
		if m.healthLocked() == healthy {
			m.isNew = false
		}
		m.effectLocked(now)
	}
	slices.Sort(numbers)
	shares := make([]float64, len(numbers)) // healthy
	takes := make([]float64, len(numbers))
	left := 1.0
	for i, n := range numbers {
		shares[i] = healthyShare(byTier[n])
		takes[i] = min(left, overshare*shares[i])
		left -= takes[i]
	}
	isShort := left > 1e-9
	best := healthy
	if left > 1-1e-9 { // none is healthy: the judged of the first tier that has some, or all of the first
		best = unreachable
		first := 0
		for i, n := range numbers {
			if slices.ContainsFunc(byTier[n], func(m *Member) bool { return m.healthLocked() == judged }) {
				best, first = judged, i
				break
			}
		}
		if len(numbers) > 0 {
			takes[first], left = 1, 0
		}
	}
	sum := 0.0
	for i, n := range numbers {
		least := best
		if isShort && shares[i] < g.cfg.PanicBelow {
			least = min(least, judged)
		}
		t := newTier(byTier[n], least)
		for _, m := range byTier[n] {
			if h := m.healthLocked(); h < least && h == judged {
				v.out = append(v.out, m)
			}
		}
		if len(t.members) == 0 {
			continue
		}
		if sum += takes[i] / (1 - left); sum > 1-1e-9 {
			sum = 1 // what follows is for repeats
		}
		t.upTo = sum
		v.tiers = append(v.tiers, t)
	}
	g.view.Store(v)
}

// effectLocked says what a member's weight is now.
func (m *Member) effectLocked(now time.Duration) {
	m.effective = m.weight
	if m.capacity > 0 {
		m.effective *= m.capacity
	}
	if !m.isStarting {
		return
	}
	grown := float64(now-m.healthyAt) / float64(m.g.cfg.SlowStart)
	if grown >= 1 {
		m.isStarting = false
		return
	}
	m.effective *= 0.1 + 0.9*max(grown, 0)
}

func healthyShare(members []*Member) float64 {
	all, up := 0.0, 0.0
	for _, m := range members {
		all += m.weight
		if m.healthLocked() == healthy {
			up += m.weight * m.capacity
		}
	}
	return up / all
}

func newTier(members []*Member, least health) tier {
	var t tier
	sum := 0.0
	for _, m := range members {
		if m.healthLocked() < least {
			continue
		}
		sum += m.effective
		t.members = append(t.members, m)
		t.weights = append(t.weights, m.effective)
		t.nominal = append(t.nominal, m.weight)
		t.sums = append(t.sums, sum)
	}
	return t
}
