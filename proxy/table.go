package proxy

// table holds the exchanges in flight on one stream, by id. Ids rise by one, so
// the id's low bits are a slot of a ring, and a perfect one but for exchanges that
// outlive a whole turn: those move to a map when their slot is wanted. It is not
// safe for concurrent use.
type table struct {
	ring []entry // length a power of two
	old  map[uint32]*exchange
	n    int
}

type entry struct {
	id uint32 // 0 is free
	ex *exchange
}

const minTable = 16

func (t *table) slot(id uint32) *entry {
	if len(t.ring) == 0 {
		t.ring = make([]entry, minTable)
	}
	return &t.ring[id&uint32(len(t.ring)-1)]
}

// put adds ex under an id that is not in the table.
func (t *table) put(id uint32, ex *exchange) {
	if t.n-len(t.old) >= len(t.ring)/2 {
		t.grow()
	}
	e := t.slot(id)
	if e.id != 0 {
		if t.old == nil {
			t.old = make(map[uint32]*exchange)
		}
		t.old[e.id] = e.ex
	}
	*e = entry{id, ex}
	t.n++
}

func (t *table) grow() {
	ring := t.ring
	t.ring = make([]entry, max(minTable, 2*len(ring)))
	for _, e := range ring {
		if e.id != 0 { // distinct slots before, so distinct slots now
			*t.slot(e.id) = e
		}
	}
}

// get returns the exchange with that id, or nil.
func (t *table) get(id uint32) *exchange {
	if t.n == 0 || id == 0 {
		return nil
	}
	if e := t.slot(id); e.id == id {
		return e.ex
	}
	return t.old[id]
}

// take removes and returns the exchange with that id, or nil.
func (t *table) take(id uint32) *exchange {
	if t.n == 0 || id == 0 {
		return nil
	}
	e := t.slot(id)
	ex := e.ex
	if e.id == id {
		*e = entry{}
	} else if ex = t.old[id]; ex != nil {
		delete(t.old, id)
	}
	if ex != nil {
		t.n--
	}
	return ex
}

// takeAll removes and returns the exchanges that match.
func (t *table) takeAll(match func(id uint32, ex *exchange) bool) []*exchange {
	if t.n == 0 {
		return nil
	}
	var out []*exchange
	for i, e := range t.ring {
		if e.id != 0 && match(e.id, e.ex) {
			out = append(out, e.ex)
			t.ring[i] = entry{}
		}
	}
	for id, ex := range t.old {
		if match(id, ex) {
			out = append(out, ex)
			delete(t.old, id)
		}
	}
	t.n -= len(out)
	return out
}
