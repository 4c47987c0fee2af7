package compress

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"slices"

	"github.com/klauspost/compress/flate"
)

// flateMark ends every sync flush: an empty stored block (RFC 1951, 3.2.4), of which the bits before
// the length may lie in the byte before.
var flateMark = []byte{0x00, 0x00, 0xff, 0xff}

const (
	// flateRatio is the most that DEFLATE can gain: 258 bytes in two bits.
	flateRatio = 1032

	// flateWindow is the format's, and how many bytes the library holds back at most.
	flateWindow = 32 << 10

	// flateRest is the most bytes that a right block can leave when all its plain bytes are out: the
	// rest of the code that ends its last compressed block (15 bits at most) and the mark.
	flateRest = 8
)

var errMark = errors.New("no sync flush at the end")

// flateEncoder writes one DEFLATE stream that never ends, with a sync flush after each block.
type flateEncoder struct {
	w   *flate.Writer
	out sink
}

func newFlateEncoder(level Level) *flateEncoder {
	e := new(flateEncoder)
	w, err := flate.NewWriter(&e.out, flateLevel(level))
	if err != nil {
		panic("h2tp: bug: flate encoder: " + err.Error())
	}
	e.w = w
	return e
}

func (e *flateEncoder) encode(dst, src []byte) ([]byte, error) {
	e.out.b = dst
	_, err := e.w.Write(src)
	if err == nil {
		err = e.w.Flush()
	}
	dst, e.out.b = e.out.b, nil
	return dst, err
}

func (e *flateEncoder) reset() { e.w.Reset(&e.out) }

// flateDecoder reads one DEFLATE stream that never ends.
//
// The library gives out bytes when its window of 32 KiB is full or at a sync flush. When a block ends
// just where the window is full, its bytes are out before its mark is read, and to ask for more would
// run into the end of the feed. The mark then stays in br, and is read before the next block.
type flateDecoder struct {
	r    io.ReadCloser
	br   *bufio.Reader // the library has a fast loop for this type
	in   feed
	last [2]byte
	pos  int // in the window
}

func newFlateDecoder() *flateDecoder {
	d := new(flateDecoder)
	d.br = bufio.NewReader(&d.in)
	d.r = flate.NewReader(d.br)
	return d
}

func (d *flateDecoder) decode(dst, src []byte, plain int) ([]byte, error) {
	if !bytes.HasSuffix(src, flateMark) {
		return nil, errMark
	}
	if plain/flateRatio > len(src)+flateRest {
		return nil, errRatio
	}
	n := len(dst)
	dst = slices.Grow(dst, plain)[:n+plain]
	d.in.b = src
	err := readExactly(d.r, dst[n:], &d.last)
	d.pos = (d.pos + plain) % flateWindow
	rest := d.br.Buffered() + len(d.in.b)
	if err == nil && (rest > flateRest || rest > 0 && d.pos != 0) {
		err = errLeft
	}
	if err == nil {
		_, err = d.br.Peek(rest) // takes what is left of src into br
	}
	d.in.b = nil
	if err != nil {
		return nil, err
	}
	return dst, nil
}

func (d *flateDecoder) reset() {
	d.pos = 0
	d.br.Reset(&d.in)
	// A nil dictionary cannot fail.
	_ = d.r.(flate.Resetter).Reset(d.br, nil)
}

func flateLevel(l Level) int {
	switch l {
	case Default:
		return 5
	case Better:
		return 7
	case Best:
		return 9
	}
	return 1
}

// flateDecoderCost is the window of 32 KiB, br, and the code tables, which hostile blocks can make grow
// by about 25 KiB. Measured: 45 KiB.
const flateDecoderCost = 80 << 10

// flateCosts are in KiB; what an encoder holds hardly depends on its input. Measured over the inputs of
// TestCostIsNoLessThanReal: 800, 1056, 992 and 1386.
var flateCosts = [...]int64{Fastest: 832, Default: 1088, Better: 1024, Best: 1408}

func flateEncoderCost(level Level) int64 { return flateCosts[level] << 10 }
