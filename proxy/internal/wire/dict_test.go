package wire

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
)

// TestDictionariesStayInStep makes random batches under limits so small that every insertion evicts,
// and compares both ends slot by slot.
func TestDictionariesStayInStep(t *testing.T) {
	for _, limits := range []DictLimits{{0, 1000}, {1, 1000}, {3, 1000}, {8, 400}, {1000, 400}, {1000, 170}, {64, 100000}} {
		t.Run(fmt.Sprintf("entries=%d/bytes=%d", limits.Entries, limits.Bytes), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(limits.Bytes)))
			e, d := NewEncoder(limits), NewDecoder(limits, Limits{})
			for range 2000 {
				var b Batch
				var want []string
				if rnd.IntN(50) == 0 {
					e.Clear()
				}
				for range 1 + rnd.IntN(3) {
					fields := randomFields(rnd)
					e.AppendEnd(&b, fields)
					want = append(want, dump(&Record{Type: TypeEnd, Trailers: wantFields(e, fields)}))
				}
				got, err := decodeBatch(d, b)
				if err != nil || !equalStrings(got, want) {
					t.Fatalf("got %v\n%q\nwant\n%q", err, got, want)
				}
				compareDicts(t, &e.index, &d.dict)
			}
		})
	}
}

func randomFields(rnd *rand.Rand) []Field {
	names := []string{"Accept", "Age", "Cookie", "X-Long-Name-Of-No-Use", "user-agent", "Vary"}
	fields := make([]Field, rnd.IntN(5))
	for i := range fields {
		value := strconv.Itoa(rnd.IntN(12))
		if rnd.IntN(3) == 0 {
			value += "-0123456789-0123456789"
		}
		fields[i] = Field{[]byte(names[rnd.IntN(len(names))]), []byte(value), rnd.IntN(4) == 0}
	}
	return fields
}

// compareDicts compares what both ends remember, the order of use included.
func compareDicts(t *testing.T, x *index, d *dict) {
	t.Helper()
	checkDict(t, &x.dict)
	checkDict(t, d)
	if x.count != d.count || x.bytes != d.bytes || len(x.slots) != len(d.slots) || fmt.Sprint(x.free) != fmt.Sprint(d.free) {
		t.Fatalf("got %d entries, %d bytes, %d slots, free %v; want %d, %d, %d, %v",
			d.count, d.bytes, len(d.slots), d.free, x.count, x.bytes, len(x.slots), x.free)
	}
	for i := range d.slots {
		a, b := &x.slots[i], &d.slots[i]
		if fieldText(&a.field) != fieldText(&b.field) || a.prev != b.prev || a.next != b.next {
			t.Fatalf("slot %d: got %q %d %d; want %q %d %d", i-1, fieldText(&b.field), b.prev, b.next, fieldText(&a.field), a.prev, a.next)
		}
		if i > 0 && len(a.field.Name) > 0 && x.lookup(x.hash(&a.field), &a.field) == 0 {
			t.Fatalf("slot %d: %q is not found", i-1, fieldText(&a.field))
		}
	}
}

// checkDict checks that the ring, the free slots and the sums agree, within the limits.
func checkDict(t *testing.T, d *dict) {
	t.Helper()
	if len(d.slots) == 0 {
		return
	}
	count, size := 0, 0
	for i := d.slots[0].next; i != 0; i = d.slots[i].next {
		s := &d.slots[i]
		if len(s.field.Name) == 0 || d.slots[s.next].prev != i {
			t.Fatalf("slot %d: %q in a broken ring", i-1, fieldText(&s.field))
		}
		count++
		size += entrySize(s.field.Name, s.field.Value)
	}
	if count != d.count || size != d.bytes || count > d.limits.Entries || size > d.limits.Bytes || count+len(d.free)+1 != len(d.slots) {
		t.Fatalf("%d entries, %d bytes in the ring, %d free of %d; counted %d, %d; limits %+v",
			count, size, len(d.free), len(d.slots)-1, d.count, d.bytes, d.limits)
	}
}

func TestDictionaryGrowsWithUse(t *testing.T) {
	limits := DictLimits{DefaultDictEntries, DefaultDictBytes}
	e, d := NewEncoder(limits), NewDecoder(limits, Limits{})
	steady(t, d, func(b *Batch) { e.AppendRequest(b, apiRequest()) })
	if n := cap(d.dict.slots); n > 32 {
		t.Errorf("nine entries take %d slots", n)
	}
	if n := cap(e.index.slots) + len(e.index.buckets); n > 64 {
		t.Errorf("nine entries take %d slots and buckets", n)
	}
	e.Clear()
	var b Batch
	e.AppendPing(&b, [8]byte{})
	if e.index.slots != nil || e.index.recent != nil || e.index.buckets != nil {
		t.Error("an empty dictionary keeps its memory")
	}
}

// TestEntriesAreImmutable keeps what a reference gave while the slot is used for another entry.
func TestEntriesAreImmutable(t *testing.T) {
	limits := DictLimits{1, 1000}
	e, d := NewEncoder(limits), NewDecoder(limits, Limits{})
	send := func(value string) Field {
		var b Batch
		var rec Record
		e.AppendEnd(&b, []Field{{Name: []byte("Accept"), Value: []byte(value)}})
		d.Reset(b.Shared, b.Raw, b.Clear)
		if err := d.Next(&rec); err != nil {
			t.Fatal(err)
		}
		return rec.Trailers[0]
	}
	send("first")
	send("first")
	kept := send("first")
	send("other")
	send("other")
	if string(kept.Value) != "first" {
		t.Errorf("the value became %q", kept.Value)
	}
}

// TestSecondSightInserts: what is seen once leaves the dictionary alone.
func TestSecondSightInserts(t *testing.T) {
	e := NewEncoder(DictLimits{DefaultDictEntries, DefaultDictBytes})
	var b Batch
	r := apiResponse()
	for i := range uint32(100) {
		renew(r, i)
		e.AppendResponse(&b, i+1, r)
	}
	if e.index.count != 4 {
		t.Errorf("got %d entries; want 4, those that repeat", e.index.count)
	}
}
