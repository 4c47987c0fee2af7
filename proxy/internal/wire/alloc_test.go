//go:build !race

package wire

import "testing"

// TestSteadyStateDoesNotAllocate: once the fields of a stream are known, neither end allocates, also for
// those that never repeat.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	limits := DictLimits{DefaultDictEntries, DefaultDictBytes}
	e, d := NewEncoder(limits), NewDecoder(limits, Limits{})
	request, response := apiRequest(), apiResponse()
	request.Fields = append(request.Fields, Field{Name: []byte("authorization"), Value: []byte("Basic QTpC")})
	e.SetSecrets([]string{"x-mine"})
	var b Batch
	var rec Record
	i := uint32(0)
	turn := func() {
		i++
		b.Shared, b.Raw = b.Shared[:0], b.Raw[:0]
		renew(response, i)
		e.AppendRequest(&b, request)
		e.AppendResponse(&b, i, response)
		renew(response, ^i)
		e.AppendBodyOnStream(&b, i, response)
		e.AppendCancel(&b, i)
		e.AppendFailed(&b, i, CodeTimeout, "slow")
		e.AppendPing(&b, [8]byte{})
		e.AppendData(&b, response.Body, i&1 == 0)
		e.AppendEnd(&b, request.Fields)
		d.Reset(b.Shared, b.Raw, b.Clear)
		for range 8 {
			if err := d.Next(&rec); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 10 {
		turn()
	}
	if n := testing.AllocsPerRun(1000, turn); n != 0 {
		t.Errorf("got %v allocations; want 0", n)
	}
}

// TestHeadersDoNotAllocate: a batch's frame costs no memory.
func TestHeadersDoNotAllocate(t *testing.T) {
	var buf [HeaderSize]byte
	shared := []byte("shared")
	n := testing.AllocsPerRun(100, func() {
		p := AppendHeader(buf[:0], Header{Coded: 6, Plain: 6, Sum: Checksum(shared, nil)})
		if _, err := ParseHeader(p, DefaultBatch); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("got %v allocations; want 0", n)
	}
}
