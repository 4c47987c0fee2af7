package balance

import (
	"cmp"
	"math"
	"slices"
	"strconv"
)

// point is where a member stands on the ring.
type point struct {
	at     uint64
	member int
}

// pointsEach is how many points a member of weight 1 has, of average weight when
// that is more: some 10 % of spread.
const pointsEach = 128

// maxOver is how far a member's load may be over its share.
const maxOver = 1.25

// KeyOf makes a key of bytes, the same in every process (FNV-1a, mixed).
func KeyOf[T string | []byte](s T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return mix(h)
}

// ringOf makes the ring of t, or finds it again when members and weights are the same.
func (v *view) ringOf(t *tier) []point {
	for i := range v.tiers {
		if old := &v.tiers[i]; slices.Equal(old.members, t.members) && slices.Equal(old.nominal, t.nominal) {
			return old.ring
		}
	}
	sum := 0.0
	for _, w := range t.nominal {
		sum += w
	}
	average := max(1, sum/float64(len(t.members)))
	var ring []point
	for i, m := range t.members {
		for k := range max(1, int(pointsEach*t.nominal[i]/average)) {
			ring = append(ring, point{KeyOf(m.name + "#" + strconv.Itoa(k)), i})
		}
	}
	slices.SortFunc(ring, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	return ring
}

// byKey walks the ring from the key to the first member with room.
func (t *tier) byKey(key uint64) *Member {
	i, _ := slices.BinarySearchFunc(t.ring, key, func(p point, k uint64) int { return cmp.Compare(p.at, k) })
	first := t.ring[i%len(t.ring)].member
	if t.members[first].load.Load() == 0 {
		return t.members[first]
	}
	load := int64(1)
	for _, m := range t.members {
		load += m.load.Load()
	}
	for k := range t.ring {
		j := t.ring[(i+k)%len(t.ring)].member
		room := math.Ceil(maxOver * float64(load) * t.weights[j] / t.total())
		if float64(t.members[j].load.Load()) < room {
			return t.members[j]
		}
	}
	return t.members[first]
}
