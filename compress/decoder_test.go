package compress

import (
	"bytes"
	"errors"
	"runtime"
	"testing"
)

func TestDecodeAppendsExactlyPlain(t *testing.T) {
	src := fillJSON(newRand(7), 100_000)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		for _, size := range []int{1, 2, 100, 32 << 10, 64 << 10, 100_000} {
			p.e.Reset()
			b := p.encode(src[:size])
			for _, plain := range []int{size - 1, size + 1, 0, -1, size / 2, 2 * size, 8 << 20} {
				p.d.Reset()
				dst := []byte("dst")
				got, err := p.d.Decode(dst, b, plain)
				if !errors.Is(err, ErrCorrupt) && plain != size {
					t.Fatalf("%v: block of %d bytes, %d announced: got %v; want ErrCorrupt", id, size, plain, err)
				}
				if string(got) != "dst" {
					t.Fatalf("%v: an error appended %d bytes", id, len(got)-3)
				}
			}
		}
	}
}

func TestDecoderIsDeadAfterAnErrorUntilReset(t *testing.T) {
	src := messages(1, 2<<10)[0]
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		b := p.encode(src)
		_, first := p.d.Decode(nil, b[:len(b)-1], len(src))
		if !errors.Is(first, ErrCorrupt) {
			t.Fatalf("%v: block cut short: got %v; want ErrCorrupt", id, first)
		}
		if _, err := p.d.Decode(nil, b, len(src)); err != first {
			t.Fatalf("%v: good block after an error: got %v; want %v", id, err, first)
		}
		p.d.Reset()
		got, err := p.d.Decode(nil, b, len(src))
		if err != nil || !bytes.Equal(got, src) {
			t.Fatalf("%v: good block after Reset: %v", id, err)
		}
	}
}

func TestBytesLeftOverAreCorrupt(t *testing.T) {
	src := messages(1, 2<<10)[0]
	for _, id := range codecs {
		for _, more := range []string{"\x01", "\x00\x00\xff\xff", "twelve bytes and more\x00\x00\xff\xff", "\xff\xff\xff\xff\xff"} {
			p := newPair(t, id, Fastest, 0)
			if _, err := p.d.Decode(nil, append(p.encode(src), more...), len(src)); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v: %q after the block: got %v; want ErrCorrupt", id, more, err)
			}
			p.d.Reset()
			p.e.Reset()
			p.pass(src)
		}
	}
}

// A lost block is an error, or the caller's sum is wrong, or, as always with snappy whose chunks stand
// alone, the block after it did not need it and is right.
func TestLostBlockIsNoticed(t *testing.T) {
	blocks := messages(80, 4<<10)
	for _, id := range contexts {
		for _, level := range allLevels {
			p := newPair(t, id, level, 0)
			noticed := 0
			for i := 0; i+2 < len(blocks); i += 2 {
				p.e.Reset()
				p.d.Reset()
				p.pass(blocks[i])
				p.encode(blocks[i+1]) // lost
				// The next block says much the same as the lost one, and so refers to it.
				src := append(bytes.Clone(blocks[i+1]), blocks[i+2]...)
				if p.isWrong(p.encode(src), src) {
					noticed++
				}
			}
			want := len(blocks)/2 - 1
			if id == Snappy {
				want = 0
			}
			if noticed != want {
				t.Errorf("%v %v: noticed %d lost blocks; want %d", id, level, noticed, want)
			}
		}
	}
}

func TestChangedByteIsNoticed(t *testing.T) {
	blocks := messages(3, 2<<10)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		good := [][]byte{p.encode(blocks[0]), p.encode(blocks[1]), p.encode(blocks[2])}
		harmless := 0
		for i := range good[1] {
			for bit := range 8 {
				if raceEnabled && bit != i%8 {
					continue
				}
				p.d.Reset()
				if p.isWrong(good[0], blocks[0]) {
					t.Fatalf("%v: good block is wrong", id)
				}
				bad := bytes.Clone(good[1])
				bad[i] ^= 1 << bit
				if !p.isWrong(bad, blocks[1]) {
					harmless++ // padding: the bytes are right
				}
			}
		}
		if harmless > 16 {
			t.Errorf("%v: %d of %d changed bits went unnoticed", id, harmless, 8*len(good[1]))
		}
	}
}

func TestResetOnOneSideIsNoticed(t *testing.T) {
	blocks := messages(3, 4<<10)
	for _, c := range []struct {
		id               ID
		encoder, decoder bool // whether a Reset of this end only is noticed
	}{
		{Snappy, true, true},
		{Flate, false, true}, // a DEFLATE stream has no beginning; new blocks do not refer to the old
		{Zstd, true, true},
	} {
		for _, level := range allLevels {
			p := newPair(t, c.id, level, 0)
			p.pass(blocks[0])
			p.pass(blocks[1])
			p.e.Reset()
			if got := p.isWrong(p.encode(blocks[1]), blocks[1]); got != c.encoder {
				t.Errorf("%v %v: encoder reset alone: noticed %v; want %v", c.id, level, got, c.encoder)
			}
			p = newPair(t, c.id, level, 0)
			p.pass(blocks[0])
			p.pass(blocks[1])
			p.d.Reset()
			if got := p.isWrong(p.encode(blocks[1]), blocks[1]); got != c.decoder {
				t.Errorf("%v %v: decoder reset alone: noticed %v; want %v", c.id, level, got, c.decoder)
			}
		}
	}
}

// isWrong reports whether a caller that compares sums sees that b is not the block for want. What it
// does not see must be right.
func (p *pair) isWrong(b, want []byte) bool {
	p.t.Helper()
	got, err := p.d.Decode(nil, b, len(want))
	if err != nil || sum(got) != sum(want) {
		return true
	}
	if !bytes.Equal(got, want) {
		p.t.Fatal("wrong bytes with the right sum")
	}
	return false
}

func TestAnnouncedSizeAloneTakesNoMemory(t *testing.T) {
	const plain = 8 << 20
	src := fillJSON(newRand(8), 1000)
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		b := p.encode(src)
		if p.isWrong(b, src) { // and the decoder has taken what it will hold
			t.Fatalf("%v: good block is wrong", id)
		}
		p.d.Reset()
		if got := allocated(func() {
			if _, err := p.d.Decode(nil, b, plain); !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v: got %v; want ErrCorrupt", id, err)
			}
		}); got > 16<<10 {
			t.Errorf("%v: a block of %d bytes that announces %d took %d bytes of memory", id, len(b), plain, got)
		}
	}
}

func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}
