package wire

// entryOverhead is what section 4 adds to name and value for an entry's size.
const entryOverhead = 32

// dict is the dictionary of one direction of one stream, the same at both ends: slots that entries
// keep for life, the order of their last use, and the slots that evictions freed.
// Memory grows with use: most streams know a few dozen fields, and few come near the limits.
type dict struct {
	limits DictLimits
	bytes  int
	count  int
	slots  []slot   // slots[0] closes the ring of use; the protocol's slot n is slots[n+1]
	free   []uint32 // a stack
}

// slot is free while its field has no name.
type slot struct {
	field      Field  // immutable while in use: fields handed out refer to its bytes for ever
	prev, next uint32 // ring of use: slots[0].next was used last, slots[0].prev longest ago
	chain      uint32 // the encoder's index: the next slot of the same bucket, 0 at the end
	hash       uint32 // and the hash that led there
	isForced   bool   // and: secret by Field.Secret, not by its name
}

func entrySize(name, value []byte) int { return len(name) + len(value) + entryOverhead }

// hasRoomFor reports whether an entry of that size may be inserted at all.
func (d *dict) hasRoomFor(size int) bool { return d.limits.Entries > 0 && size <= d.limits.Bytes/4 }

// find returns the index in slots of the protocol's slot n, 0 if that has no entry.
func (d *dict) find(n uint32) uint32 {
	if uint64(n)+1 >= uint64(len(d.slots)) || len(d.slots[n+1].field.Name) == 0 {
		return 0
	}
	return n + 1
}

// touch makes an entry the most recently used.
func (d *dict) touch(i uint32) {
	s := d.slots
	if s[0].next == i {
		return
	}
	s[s[i].prev].next = s[i].next
	s[s[i].next].prev = s[i].prev
	d.pushFront(i)
}

func (d *dict) pushFront(i uint32) {
	s := d.slots
	first := s[0].next
	s[i].prev, s[i].next = 0, first
	s[first].prev = i
	s[0].next = i
}

// victim returns the entry that has to go before one of that size fits, 0 if none has.
func (d *dict) victim(size int) uint32 {
	if d.count < d.limits.Entries && d.bytes+size <= d.limits.Bytes {
		return 0
	}
	return d.slots[0].prev
}

func (d *dict) evict(i uint32) {
	s := d.slots
	s[s[i].prev].next = s[i].next
	s[s[i].next].prev = s[i].prev
	d.bytes -= entrySize(s[i].field.Name, s[i].field.Value)
	d.count--
	s[i] = slot{}
	d.free = append(d.free, i)
}

// insert copies the field into a slot of its own; hasRoomFor and victim have been obeyed. known is
// the name's entry in names: a static name is not copied.
func (d *dict) insert(f *Field, known *name, secret bool) uint32 {
	if len(d.slots) == 0 {
		d.slots = make([]slot, 1, 16)
	}
	var i uint32
	if last := len(d.free) - 1; last >= 0 {
		i, d.free = d.free[last], d.free[:last]
	} else {
		i = uint32(len(d.slots))
		d.slots = append(d.slots, slot{})
	}
	d.slots[i].field = copyField(f, known, secret)
	d.pushFront(i)
	d.bytes += entrySize(f.Name, f.Value)
	d.count++
	return i
}

func copyField(f *Field, known *name, secret bool) Field {
	if string(known.text) == string(f.Name) {
		return Field{Name: known.text, Value: append(make([]byte, 0, len(f.Value)), f.Value...), Secret: secret}
	}
	n := len(f.Name)
	p := make([]byte, 0, n+len(f.Value))
	p = append(append(p, f.Name...), f.Value...)
	return Field{Name: p[:n:n], Value: p[n:], Secret: secret}
}

// reset empties the dictionary and lets its memory go.
func (d *dict) reset() { *d = dict{limits: d.limits} }
