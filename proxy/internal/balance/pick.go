package balance

import (
	"math"
	"slices"
	"sort"
	"time"
)

const (
	golden = 0x9e3779b97f4a7c15 // 2^64 over the golden ratio: its multiples spread evenly
	silver = 0xd1342543de82ef95 // odd, and far from a multiple of golden
)

// Pick chooses a member, one of tried only when no other can be reached, and one that is full
// only when no other has room; nil when the group is empty. key is the exchange's with Hash; one without goes as by Least.
func (g *Group) Pick(now time.Duration, key uint64, tried []*Member) *Member {
	v := g.view.Load()
	if len(v.tiers) == 0 {
		return nil
	}
	n := g.next.Add(1)
	t := &v.tiers[0]
	if len(v.tiers) > 1 {
		x := n * silver
		if g.cfg.Policy == Hash && key != 0 {
			x = mix(key ^ silver) // a key keeps to its tier, too
		}
		t = v.tierAt(unit(x))
	}
	m := t.members[0]
	if len(t.members) > 1 {
		m = g.pickOf(t, n, now, key)
	}
	if len(tried) > 0 && slices.Contains(tried, m) {
		if other := v.other(tried); other != nil {
			m = other
		} else if i := slices.IndexFunc(v.out, func(m *Member) bool { return !slices.Contains(tried, m) }); i >= 0 {
			return v.out[i]
		}
	}
	if m.isFull.Load() {
		if other := v.withRoom(tried); other != nil {
			return other
		}
	}
	return m
}

// unit makes a number from 0 to 1, 1 excluded, of 53 bits.
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

func (v *view) tierAt(x float64) *tier {
	for i := range v.tiers {
		if x < v.tiers[i].upTo {
			return &v.tiers[i]
		}
	}
	return &v.tiers[len(v.tiers)-1]
}

// at is the member that x of the weights comes to.
func (t *tier) at(x float64) int {
	return min(sort.SearchFloat64s(t.sums, x*t.total()), len(t.members)-1)
}

func (g *Group) pickOf(t *tier, n uint64, now time.Duration, key uint64) *Member {
	if g.cfg.Policy == Hash && key != 0 {
		return t.byKey(key)
	}
	first := t.at(unit(n * golden)) // in turn
	switch g.cfg.Policy {
	case Least, Hash:
		return t.members[t.leastOf(first, n)]
	case Latency:
		return t.members[t.soonest(first, n, now)]
	}
	return t.members[first]
}

// clearly is how much less is clearly less.
const clearly = 0.75

// leastOf keeps to the turn unless another would bear clearly less with one
// exchange more: so the spread is by weight where loads differ by chance only.
func (t *tier) leastOf(first int, n uint64) int {
	best := first
	bar := clearly * (float64(t.members[first].load.Load()) - 1) / t.weights[first]
	if bar <= 0 {
		return first
	}
	if len(t.members) > few {
		i := t.at(unit(mix(n)))
		if t.after(i) < bar {
			best = i
		}
		return best
	}
	for i := range t.members {
		if a := t.after(i); a < bar {
			best, bar = i, a
		}
	}
	return best
}

// after is the load by weight with one exchange more.
func (t *tier) after(i int) float64 { return float64(t.members[i].load.Load()+1) / t.weights[i] }

// soonest keeps to the turn unless another clearly costs less: so the spread is by weight where times differ by
// chance only.
func (t *tier) soonest(first int, n uint64, now time.Duration) int {
	best := first
	bar := clearly * t.cost(first, now)
	if len(t.members) > few {
		if i := t.at(unit(mix(n))); t.cost(i, now) < bar {
			best = i
		}
		return best
	}
	for i := range t.members {
		if c := t.cost(i, now); c < bar {
			best, bar = i, c
		}
	}
	return best
}

// cost is what Latency compares: the time that one exchange more would take where each is served in turn. What has
// not answered for long is forgiven; what never has is asked once, and then is no choice until it answers.
func (t *tier) cost(i int, now time.Duration) float64 {
	m := t.members[i]
	load := float64(m.load.Load())
	latency := math.Float64frombits(m.latency.Load())
	if latency == 0 && load > 0 {
		return math.Inf(1)
	}
	share := t.weights[i] * float64(len(t.members)) / t.total()
	return latency * fade(now-time.Duration(m.timed.Load())) * (1 + load/share)
}

// other is the least loaded that is not in tried, of the first tier that has one.
func (v *view) other(tried []*Member) *Member {
	return v.least(func(m *Member) bool { return !slices.Contains(tried, m) })
}

// withRoom is other of those that are not full.
func (v *view) withRoom(tried []*Member) *Member {
	return v.least(func(m *Member) bool { return !m.isFull.Load() && !slices.Contains(tried, m) })
}

// least is the least loaded of those that may be, of the first tier that has one.
func (v *view) least(may func(*Member) bool) *Member {
	for i := range v.tiers {
		t := &v.tiers[i]
		var best *Member
		bar := 0.0
		for j, m := range t.members {
			if a := t.after(j); may(m) && (best == nil || a < bar) {
				best, bar = m, a
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

// mix makes a number that looks random of n (splitmix64).
func mix(n uint64) uint64 {
	n *= golden
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}
