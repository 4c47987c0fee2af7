package compress

import (
	"bytes"
	stdflate "compress/flate"
	"errors"
	"io"
	"testing"
)

// The library gives out bytes when its window is full, before it has read the mark: blocks that end
// just there leave their mark to the next one.
func TestFlateBlockEndsWhereTheWindowIsFull(t *testing.T) {
	r := newRand(9)
	for _, level := range allLevels {
		for _, fill := range fills {
			p := newPair(t, Flate, level, 0)
			for _, size := range []int{flateWindow, flateWindow, 1000, flateWindow - 1000, 1, flateWindow - 1, 3 * flateWindow, 5} {
				p.pass(fill.make(r, size))
			}
		}
	}
}

func TestFlateUnderstandsTheStandardLibrary(t *testing.T) {
	blocks := append(messages(50, 3<<10), fillRandom(newRand(10), 100_000), fillZero(nil, 200_000))
	p := newPair(t, Flate, Fastest, 0)
	var wire bytes.Buffer
	w, err := stdflate.NewWriter(&wire, 6)
	if err != nil {
		t.Fatal(err)
	}
	var ours bytes.Buffer
	std := stdflate.NewReader(&ours)
	for i, b := range blocks {
		w.Write(b)
		w.Flush()
		if p.isWrong(wire.Bytes(), b) {
			t.Fatalf("block %d of the standard library is wrong here", i)
		}
		wire.Reset()

		ours.Write(p.encode(b))
		got := make([]byte, len(b))
		if _, err := io.ReadFull(std, got); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("block %d is wrong to the standard library: %v", i, err)
		}
	}
}

func TestFlateRefusesTheEndOfTheStream(t *testing.T) {
	src := messages(1, 2<<10)[0]
	var wire bytes.Buffer
	w, _ := stdflate.NewWriter(&wire, 1)
	w.Write(src)
	w.Close()
	p := newPair(t, Flate, Fastest, 0)
	for _, b := range [][]byte{wire.Bytes(), append(wire.Bytes(), flateMark...)} {
		p.d.Reset()
		if _, err := p.d.Decode(nil, b, len(src)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v; want ErrCorrupt", err)
		}
	}
}
