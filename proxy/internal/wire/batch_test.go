package wire

import (
	"errors"
	"testing"
)

func TestHeaderRoundTrip(t *testing.T) {
	for _, h := range []Header{
		{Plain: 1, Coded: 1},
		{Codec: 3, Anew: true, Clear: true, Coded: 0x010203, Plain: 0x020304, Raw: 0x030405, Sum: 0xdeadbeef},
		{Codec: 1, Packed: true, Coded: 2, Plain: maxUint24, Sum: 1},
	} {
		p := AppendHeader([]byte("x"), h)[1:]
		if got, err := ParseHeader(append(p, 'y'), maxBatch); err != nil || len(p) != HeaderSize || got != h {
			t.Errorf("got %+v, %v; want %+v", got, err, h)
		}
	}
	if p := AppendHeader(nil, Header{Anew: true, Packed: true, Coded: 1, Plain: 1}); p[0] != 0 {
		t.Errorf("got flags %x; want 0, for codec 0 has no context to start anew, and packs nothing", p[0])
	}
}

// TestHeaderTooLargeIsABug: lengths that do not fit would make another batch of this one.
func TestHeaderTooLargeIsABug(t *testing.T) {
	for _, h := range []Header{{Coded: 1 << 24}, {Plain: 1 << 24}, {Raw: 1 << 24}, {Raw: -1}, {Codec: 4}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%+v: no panic", h)
				}
			}()
			AppendHeader(nil, h)
		}()
	}
}

func TestChecksum(t *testing.T) {
	const want = 0xe3069283 // the check value of CRC-32C
	for k := range 10 {
		if got := Checksum([]byte("123456789")[:k], []byte("123456789")[k:]); got != want {
			t.Errorf("cut at %d: got %#x; want %#x", k, got, uint32(want))
		}
	}
}

// TestErrorsEndTheStream: after an error nothing decodes, not even in the next batch.
func TestErrorsEndTheStream(t *testing.T) {
	d := NewDecoder(DictLimits{}, Limits{})
	var rec Record
	d.Reset([]byte{0x00, 0x00}, nil, false)
	first := d.Next(&rec)
	d.Reset([]byte{0x03, 0x01, 0x01}, nil, false)
	if second := d.Next(&rec); first == nil || second != first {
		t.Errorf("got %v, then %v; want the same error", first, second)
	}
}

// TestResetChecksTheLimit, for a caller that took more than ParseHeader was asked to allow.
func TestResetChecksTheLimit(t *testing.T) {
	d := NewDecoder(DictLimits{}, Limits{Batch: 4})
	var rec Record
	d.Reset([]byte{0x03, 0x01, 0x01}, []byte("ab"), false)
	if e, ok := errors.AsType[*Error](d.Next(&rec)); !ok || e.Code != ResetCalm {
		t.Errorf("got %v; want a calm error", e)
	}
}

// TestHugeCountsTakeNoMemory: a megabyte of references is as many fields, of which a few are kept.
func TestHugeCountsTakeNoMemory(t *testing.T) {
	const n = 1 << 20
	p := []byte{0x0c, 0x07, 0x04, 0x01, 0x12, 0x03, 'a', 'b', 'c'} // slot 0
	p = appendVarint(append(p, 0x0c), n+4)
	p = appendVarint(append(p, 0x04), n)
	p = append(p, make([]byte, n)...)
	d := NewDecoder(DictLimits{DefaultDictEntries, DefaultDictBytes}, Limits{})
	var rec Record
	d.Reset(p, nil, false)
	for range 2 {
		if err := d.Next(&rec); err != nil {
			t.Fatal(err)
		}
	}
	if rec.Over != OverFields || len(rec.Trailers) != DefaultFields || cap(rec.Trailers) > 2*DefaultFields {
		t.Errorf("got over %v, %d fields of room for %d", rec.Over, len(rec.Trailers), cap(rec.Trailers))
	}
}

// TestRequestIDsRunOut: a stream carries 2^31 - 1 exchanges.
func TestRequestIDsRunOut(t *testing.T) {
	d := NewDecoder(DictLimits{}, Limits{})
	d.lastID = 1<<31 - 2
	var rec Record
	smallest := []byte{0x01, 0x08, 0, 0, 1, 1, '/', 9, 0, 0}
	d.Reset(append(smallest, smallest...), nil, false)
	if err := d.Next(&rec); err != nil || rec.ID != 1<<31-1 {
		t.Errorf("got id %d, %v; want 2^31 - 1", rec.ID, err)
	}
	if err := d.Next(&rec); err == nil {
		t.Error("one more was taken")
	}
}
