package compress

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// zstdBlock is the most that one zstd block decodes to (RFC 8878, 3.1.1.2.4).
const zstdBlock = 128 << 10

var (
	errFrame = errors.New("not the one frame of a context")
	errBlock = errors.New("not whole blocks")
)

// zstdEncoder writes one frame that never ends. It starts no goroutine (concurrency 1).
type zstdEncoder struct {
	w   *zstd.Encoder
	out sink
}

func newZstdEncoder(level Level, window int) *zstdEncoder {
	e := new(zstdEncoder)
	// The level comes before the window: so the level chooses the block size too, 64 KiB for fastest.
	w, err := zstd.NewWriter(&e.out,
		zstd.WithEncoderLevel(zstdLevel(level)),
		zstd.WithWindowSize(window),
		zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(1),
		zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic("h2tp: bug: zstd encoder: " + err.Error())
	}
	e.w = w
	return e
}

func (e *zstdEncoder) encode(dst, src []byte) ([]byte, error) {
	e.out.b = dst
	_, err := e.w.Write(src)
	if err == nil {
		err = e.w.Flush()
	}
	dst, e.out.b = e.out.b, nil
	return dst, err
}

func (e *zstdEncoder) reset() { e.w.Reset(&e.out) }

// zstdDecoder reads one frame that never ends. It starts no goroutine (concurrency 1).
type zstdDecoder struct {
	r      *zstd.Decoder
	in     feed
	window int
	begun  bool // the frame header was seen
	last   [2]byte
}

func newZstdDecoder(window int) *zstdDecoder {
	d := &zstdDecoder{window: window}
	r, err := zstd.NewReader(&d.in,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(uint64(window)))
	if err != nil {
		panic("h2tp: bug: zstd decoder: " + err.Error())
	}
	d.r = r
	return d
}

func (d *zstdDecoder) decode(dst, src []byte, plain int) ([]byte, error) {
	if err := d.check(src, plain); err != nil {
		return nil, err
	}
	n := len(dst)
	dst = slices.Grow(dst, plain)[:n+plain]
	d.in.b, d.begun = src, true
	err := readExactly(d.r, dst[n:], &d.last)
	src, d.in.b = d.in.b, nil
	if err != nil {
		return nil, err
	}
	for _, b := range src { // empty raw blocks at the end, which are all zero bytes, were not read
		if b != 0 {
			return nil, errLeft
		}
	}
	return dst, nil
}

// check walks the block headers (RFC 8878, 3.1.1.2) before any memory is taken. What it lets through
// is whole blocks of a frame that goes on, so that the decoder can never wait in the middle of a block,
// skip a frame, or begin a second one, and which may well hold plain bytes.
func (d *zstdDecoder) check(src []byte, plain int) error {
	if !d.begun {
		window, n := zstdHeader(src)
		if n == 0 {
			return errFrame
		}
		if window > d.window {
			return fmt.Errorf("%w: %d above %d", ErrWindow, window, d.window)
		}
		src = src[n:]
	}
	least, most := 0, 0
	for len(src) > 0 {
		if len(src) < 3 {
			return errBlock
		}
		header := int(src[0]) | int(src[1])<<8 | int(src[2])<<16
		size := header >> 3
		coded := size
		switch header & 7 {
		case 0: // raw
			least, most = least+size, most+size
		case 2: // a byte repeated
			least, most, coded = least+size, most+size, 1
		case 4: // compressed
			most += zstdBlock
		default: // the last block, or the reserved type
			return errFrame
		}
		if size > zstdBlock || coded > len(src)-3 {
			return errBlock
		}
		src = src[3+coded:]
	}
	if plain < least {
		return errExcess
	}
	if plain > most {
		return errRatio
	}
	return nil
}

func (d *zstdDecoder) reset() {
	d.begun = false
	if err := d.r.Reset(&d.in); err != nil {
		panic("h2tp: bug: zstd decoder: " + err.Error())
	}
}

// zstdHeader reads the frame header that begins a context and returns the window it asks for and its
// length, 0 when it is not such a header: no checksum, no content size, no dictionary (PROTOCOL
// section 5). Bit 4 of the descriptor is ignored (RFC 8878, 3.1.1.1.1.3).
func zstdHeader(src []byte) (window, n int) {
	if len(src) < 6 || string(src[:4]) != "\x28\xb5\x2f\xfd" || src[4]&^0x10 != 0 {
		return 0, 0
	}
	log := 10 + uint(src[5]>>3)
	if log > 30 { // far above any limit, and an int may have 32 bits
		return 1 << 30, 6
	}
	return 1<<log + 1<<log/8*int(src[5]&7), 6
}

func zstdLevel(l Level) zstd.EncoderLevel {
	switch l {
	case Default:
		return zstd.SpeedDefault
	case Better:
		return zstd.SpeedBetterCompression
	case Best:
		return zstd.SpeedBestCompression
	}
	return zstd.SpeedFastest
}

// powerOfTwo rounds down.
func powerOfTwo(n int) int { return 1 << (bits.Len(uint(n)) - 1) }

// zstdTables is what an encoder holds before its first block besides the block to be filled, in KiB:
// the hash tables of its level, and up to 64 for the rest.
var zstdTables = [...]int64{Fastest: 320, Default: 1344, Better: 4224, Best: 34880}

// zstdEncoderCost adds to the tables the block to be filled, the history (the window and 128 KiB), and
// what the work on one block takes: literals, sequences and output, of which the worst inputs found
// need 6.5 (fastest) to 7 (best) times the block. Measured over the inputs of TestCostIsNoLessThanReal,
// in KiB at a window of 256 KiB: fastest 1146 of 1280 accounted, default 2592 of 2880, better 5480 of
// 5760, best 36240 of 36416. JSON of a few KiB a block needs much less: 0.76 MB for fastest.
func zstdEncoderCost(level Level, window int) int64 {
	block := min(window, zstdBlock)
	if level == Fastest {
		block = min(window, zstdBlock/2)
	}
	return zstdTables[level]<<10 + int64(window) + zstdBlock + 9*int64(block)
}

// zstdDecoderCost is the ring (the window and two blocks), three buffers of a block each (coded bytes,
// literals, output), every buffer rounded up to the 8 KiB of the allocator, and 64 KiB for the entropy
// tables. Measured at a window of 256 KiB: 950 of 1000 KiB accounted.
//
// On arm64 with windows from 1 MiB the library holds the sequences of a block as well: at most 98302
// of 24 bytes.
func zstdDecoderCost(window int) int64 {
	cost := int64(window) + 5*(min(int64(window), zstdBlock)+8<<10) + 64<<10
	if runtime.GOARCH == "arm64" && window >= 1<<20 {
		cost += 98302 * 24
	}
	return cost
}
