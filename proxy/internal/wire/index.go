package wire

import (
	"bytes"
	"hash/maphash"
)

// index is the encoder's side of a dictionary: it finds the entry of a field, and remembers what was
// seen. Its hashes are seeded, so that nobody can send values made to collide.
type index struct {
	dict
	seed    maphash.Seed
	buckets []uint32 // index in slots of a chain's first, 0 if empty; the length is a power of two
	// recent holds hashes of fields seen, each in the set that its low bits say, the newest first.
	recent *[recentSets][recentWays]uint32
}

// With two values that never repeat in a request, a field that returns within some 500 requests is
// still known. A set has several ways because two fields of every request that pushed each
// other out would never be inserted. 4 KiB, taken when the first field is sent.
const (
	recentSets = 256
	recentWays = 4
)

func (x *index) hash(f *Field) uint64 {
	return maphash.Bytes(x.seed, f.Name)*0x9e3779b97f4a7c15 + maphash.Bytes(x.seed, f.Value)
}

// lookup returns the index in slots of f's entry, 0 if there is none. An entry serves if what the
// decoder will say of its secrecy is what the encoder would say of f.
func (x *index) lookup(h uint64, f *Field) uint32 {
	if len(x.buckets) == 0 {
		return 0
	}
	h32 := uint32(h)
	for i := x.buckets[int(h32)&(len(x.buckets)-1)]; i != 0; {
		s := &x.slots[i]
		if s.hash == h32 && bytes.Equal(s.field.Value, f.Value) && bytes.Equal(s.field.Name, f.Name) &&
			(s.field.Secret == f.Secret || s.field.Secret && !s.isForced) {
			return i
		}
		i = s.chain
	}
	return 0
}

// isRepeated reports whether the field was seen lately, and remembers it. A field is inserted at its
// second sight only: values that never repeat, such as request ids and random tokens, would
// push out those that do, and cost an allocation at both ends each.
func (x *index) isRepeated(h uint64) bool {
	if x.recent == nil {
		x.recent = new([recentSets][recentWays]uint32)
	}
	h32 := uint32(h>>32) | 1<<31 // never 0, which is an empty place
	set := &x.recent[h32%recentSets]
	for _, seen := range set {
		if seen == h32 {
			return true
		}
	}
	copy(set[1:], set[:recentWays-1])
	set[0] = h32
	return false
}

// insert puts f into the dictionary, evicting as section 4 says.
func (x *index) insert(h uint64, f *Field, known *name, secret, isForced bool) {
	size := entrySize(f.Name, f.Value)
	for i := x.victim(size); i != 0; i = x.victim(size) {
		x.unlink(i)
		x.evict(i)
	}
	if x.count >= len(x.buckets) {
		x.grow()
	}
	i := x.dict.insert(f, known, secret)
	x.slots[i].hash, x.slots[i].isForced = uint32(h), isForced
	x.link(i)
}

func (x *index) link(i uint32) {
	b := &x.buckets[int(x.slots[i].hash)&(len(x.buckets)-1)]
	x.slots[i].chain = *b
	*b = i
}

func (x *index) unlink(i uint32) {
	at := &x.buckets[int(x.slots[i].hash)&(len(x.buckets)-1)]
	for *at != i {
		at = &x.slots[*at].chain
	}
	*at = x.slots[i].chain
}

// grow doubles the buckets, so that a chain holds one entry on average.
func (x *index) grow() {
	x.buckets = make([]uint32, max(16, 2*len(x.buckets)))
	if x.count == 0 {
		return
	}
	for i := x.slots[0].next; i != 0; i = x.slots[i].next {
		x.link(i)
	}
}

func (x *index) reset() {
	x.dict.reset()
	x.buckets, x.recent = nil, nil
}
