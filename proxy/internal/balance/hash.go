package balance

import "math"

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

// byKey gives a key to the member that draws highest for it (rendezvous hashing, by weight), of those with room: when
// members come and go, no other keys move than those they get and had.
func (t *tier) byKey(key uint64) *Member {
	load := int64(1)
	for _, m := range t.members {
		load += m.load.Load()
	}
	var first, best *Member
	highest, bar := 0.0, 0.0
	for i, m := range t.members {
		draw := t.nominal[i] / -math.Log(unit(mix(key^m.seed))+0x1p-54) // never 0, never the logarithm of 1
		if first == nil || draw > highest {
			first, highest = m, draw
		}
		n := m.load.Load()
		if best != nil && draw <= bar || n > 0 && float64(n) >= math.Ceil(maxOver*float64(load)*t.weights[i]/t.total()) {
			continue
		}
		best, bar = m, draw
	}
	if best == nil {
		return first
	}
	return best
}
