package compress

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/golang/snappy"
)

func TestSnappyUnderstandsTheFramingFormat(t *testing.T) {
	blocks := append(messages(20, 3<<10), fillRandom(newRand(11), 200_000), fillZero(nil, 200_000))
	p := newPair(t, Snappy, Fastest, 0)
	var wire, ours bytes.Buffer
	w, lib := snappy.NewBufferedWriter(&wire), snappy.NewReader(&ours)
	for i, b := range blocks {
		w.Write(b)
		w.Flush()
		if p.isWrong(wire.Bytes(), b) {
			t.Fatalf("block %d of the library is wrong here", i)
		}
		wire.Reset()

		ours.Write(p.encode(b))
		got := make([]byte, len(b))
		if _, err := io.ReadFull(lib, got); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("block %d is wrong to the library: %v", i, err)
		}
	}
}

func TestSnappyChunks(t *testing.T) {
	const (
		data = "\x01\x05\x00\x00sum!x"
		skip = "\x80\x02\x00\x00??"
		pad  = "\xfe\x01\x00\x00\x00"
	)
	x := string(appendSnappyChunk(nil, []byte("x")))
	empty := string(appendSnappyChunk(nil, nil))
	for _, c := range []struct {
		name, block string
		ok          bool
	}{
		{"one chunk", snappyStream + x, true},
		{"skippable and padding chunks", snappyStream + skip + x + pad, true},
		{"empty chunks", snappyStream + empty + x + empty, true},
		{"no identifier", x, false},
		{"identifier twice", snappyStream + snappyStream + x, false},
		{"wrong sum", snappyStream + data, false},
		{"reserved chunk", snappyStream + "\x02\x00\x00\x00" + x, false},
		{"chunk cut short", snappyStream + x[:len(x)-1], false},
		{"head cut short", snappyStream + x + "\x01\x00", false},
		{"chunk without a sum", snappyStream + "\x00\x03\x00\x00abc" + x, false},
		{"skippable chunk cut short", snappyStream + x + "\x80\x02\x00\x00?", false},
		{"two bytes", snappyStream + x + x, false},
		{"no bytes", snappyStream, false},
		{"length that is no number", snappyStream + "\x00\x07\x00\x00sum!\xff\xff\xff", false},
		{"length above 64 KiB", snappyStream + "\x00\x08\x00\x00sum!\x81\x80\x04x", false},
	} {
		p := newPair(t, Snappy, Fastest, 0)
		got, err := p.d.Decode(nil, []byte(c.block), 1)
		if c.ok && (err != nil || string(got) != "x") {
			t.Errorf("%s: got %q, %v; want \"x\"", c.name, got, err)
		}
		if !c.ok && !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: got %q, %v; want ErrCorrupt", c.name, got, err)
		}
	}
}
