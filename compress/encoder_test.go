package compress

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
)

func TestEncodeAndDecodeDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	blocks := append(messages(64, 2<<10), fillRandom(newRand(6), 5000), fillJSON(newRand(6), 200_000))
	for _, id := range codecs {
		for _, level := range allLevels {
			t.Run(fmt.Sprintf("codec=%v/level=%v", id, level), func(t *testing.T) {
				p := newPair(t, id, level, 0)
				p.coded, p.plain = make([]byte, 0, 256<<10), make([]byte, 0, 256<<10)
				i := 0
				turn := func() {
					src := blocks[i%len(blocks)]
					i++
					coded, isPacked, err := p.e.EncodePacked(p.coded, src)
					if err != nil {
						t.Fatal(err)
					}
					decode := p.d.Decode
					if isPacked {
						decode = p.d.DecodePacked
					}
					if _, err := decode(p.plain, coded, len(src)); err != nil {
						t.Fatal(err)
					}
				}
				for range 3 * len(blocks) { // buffers grow to the largest block
					turn()
				}
				if got := testing.AllocsPerRun(len(blocks), turn); got > 0 {
					t.Errorf("got %v allocations for a block; want 0", got)
				}
			})
		}
	}
}

func TestDecodeNeedsNoRoomBeyondPlain(t *testing.T) {
	src := messages(1, 4<<10)[0]
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		dst := make([]byte, 3, 3+len(src))
		got, err := p.d.Decode(dst, p.encode(src), len(src))
		if err != nil {
			t.Fatal(err)
		}
		if &got[0] != &dst[0] || !bytes.Equal(got[3:], src) {
			t.Errorf("%v: moved to another array, or wrong bytes", id)
		}
	}
}

func TestEncodeRefusesAnEmptyBlock(t *testing.T) {
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		if _, err := p.e.Encode(nil, nil); err == nil {
			t.Errorf("%v: got no error", id)
		}
		p.pass([]byte("the context is as it was"))
	}
}

func TestClosedEndsSayClosed(t *testing.T) {
	for _, id := range codecs {
		p := newPair(t, id, Fastest, 0)
		b := p.encode([]byte("x"))
		p.e.Close()
		p.d.Close()
		p.e.Reset()
		p.d.Reset()
		if _, err := p.e.Encode(nil, []byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("%v: Encode: got %v; want ErrClosed", id, err)
		}
		if _, err := p.d.Decode(nil, b, 1); !errors.Is(err, ErrClosed) {
			t.Errorf("%v: Decode: got %v; want ErrClosed", id, err)
		}
		if p.e.ID() != id || p.d.ID() != id {
			t.Errorf("got %v and %v; want %v", p.e.ID(), p.d.ID(), id)
		}
	}
}

func TestResetOnBothSidesStartsAnew(t *testing.T) {
	blocks := messages(40, 2<<10)
	for _, id := range codecs {
		for _, level := range allLevels {
			p := newPair(t, id, level, 0)
			first := p.encode(blocks[0])
			for i, b := range blocks {
				if i%3 == 0 {
					p.e.Reset()
					p.d.Reset()
				}
				p.pass(b)
			}
			p.e.Reset()
			p.d.Reset()
			if again := p.encode(blocks[0]); len(again) != len(first) {
				t.Errorf("%v %v: the first block of a new context takes %d bytes; want %d", id, level, len(again), len(first))
			}
		}
	}
}
