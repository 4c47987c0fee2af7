package proxy

// table holds the exchanges in flight on one stream, by id. Ids rise by one, so
// the id's low bits are a perfect hash but for exchanges that outlive a whole
// turn; those are probed for. It is not safe for concurrent use.
type table struct {
	slots []*exchange // length a power of two
	ids   []uint32    // beside slots: 0 is free
	n     int
}

const minTable = 16

func (t *table) find(id uint32) int {
	if t.n == 0 || id == 0 {
		return -1
	}
	mask := uint32(len(t.ids) - 1)
	for i := id & mask; t.ids[i] != 0; i = (i + 1) & mask {
		if t.ids[i] == id {
			return int(i)
		}
	}
	return -1
}

// put adds ex under an id that is not in the table.
func (t *table) put(id uint32, ex *exchange) {
	if 2*t.n >= len(t.ids) {
		t.grow()
	}
	mask := uint32(len(t.ids) - 1)
	i := id & mask
	for t.ids[i] != 0 {
		i = (i + 1) & mask
	}
	t.ids[i], t.slots[i] = id, ex
	t.n++
}

func (t *table) grow() {
	old := *t
	size := max(minTable, 2*len(old.ids))
	*t = table{slots: make([]*exchange, size), ids: make([]uint32, size)}
	for i, id := range old.ids {
		if id != 0 {
			t.put(id, old.slots[i])
		}
	}
}

// get returns the exchange with that id, or nil.
func (t *table) get(id uint32) *exchange {
	if i := t.find(id); i >= 0 {
		return t.slots[i]
	}
	return nil
}

// take removes and returns the exchange with that id, or nil.
func (t *table) take(id uint32) *exchange {
	i := t.find(id)
	if i < 0 {
		return nil
	}
	ex := t.slots[i]
	t.n--
	// Close the gap, so that no search ends before what was probed past it.
	mask := len(t.ids) - 1
	for j := (i + 1) & mask; t.ids[j] != 0; j = (j + 1) & mask {
		if home := int(t.ids[j]) & mask; (j-home)&mask >= (j-i)&mask {
			t.ids[i], t.slots[i] = t.ids[j], t.slots[j]
			i = j
		}
	}
	t.ids[i], t.slots[i] = 0, nil
	return ex
}

// takeAll removes and returns the exchanges that match.
func (t *table) takeAll(match func(id uint32, ex *exchange) bool) []*exchange {
	var ids []uint32
	for i, id := range t.ids {
		if id != 0 && match(id, t.slots[i]) {
			ids = append(ids, id)
		}
	}
	var out []*exchange
	for _, id := range ids {
		out = append(out, t.take(id))
	}
	return out
}
