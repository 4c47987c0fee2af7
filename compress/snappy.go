package compress

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"

	"github.com/golang/snappy"
)

// The framing format: chunks of type (1 byte), length (3 bytes, little-endian), and for data a
// checksum (4 bytes) that counts as part of the length.
const (
	snappyStream     = "\xff\x06\x00\x00sNaPpY"
	snappyCompressed = 0x00
	snappyPlain      = 0x01
	snappySkippable  = 0x80 // and above, save the stream identifier
	snappyIdentifier = 0xff

	snappyChunk = 64 << 10 // the most bytes in a chunk, once decoded
	snappyHead  = 8
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	errStream = errors.New("stream identifier not at the start of the context, or only there")
	errChunk  = errors.New("not whole chunks")
	errSum    = errors.New("wrong sum of a chunk")
)

// snappyEncoder writes chunks straight into the caller's slice; its context is the stream identifier.
type snappyEncoder struct{ begun bool }

func (e *snappyEncoder) encode(dst, src []byte) ([]byte, error) {
	if !e.begun {
		dst = append(dst, snappyStream...)
		e.begun = true
	}
	for len(src) > 0 {
		n := min(len(src), snappyChunk)
		dst = appendSnappyChunk(dst, src[:n])
		src = src[n:]
	}
	return dst, nil
}

func (e *snappyEncoder) reset() { e.begun = false }

func appendSnappyChunk(dst, src []byte) []byte {
	start := len(dst)
	dst = slices.Grow(dst, snappyHead+snappy.MaxEncodedLen(len(src)))
	body := dst[start+snappyHead : cap(dst)]
	kind, size := byte(snappyCompressed), len(snappy.Encode(body, src))
	if size >= len(src)-len(src)/8 { // as the library: an eighth less, or it is not worth decoding
		kind, size = snappyPlain, copy(body, src)
	}
	dst = dst[:start+snappyHead+size]
	size += 4
	dst[start], dst[start+1], dst[start+2], dst[start+3] = kind, byte(size), byte(size>>8), byte(size>>16)
	binary.LittleEndian.PutUint32(dst[start+4:], snappySum(src))
	return dst
}

// snappyDecoder decodes chunks straight into the caller's slice.
type snappyDecoder struct{ begun bool }

func (d *snappyDecoder) decode(dst, src []byte, plain int) ([]byte, error) {
	if !d.begun {
		if len(src) < len(snappyStream) || string(src[:len(snappyStream)]) != snappyStream {
			return nil, errStream
		}
		src = src[len(snappyStream):]
		d.begun = true
	}
	if err := checkSnappy(src, plain); err != nil {
		return nil, err
	}
	n := len(dst)
	dst = slices.Grow(dst, plain)[:n+plain]
	for len(src) > 0 {
		kind, body, rest := cutSnappyChunk(src)
		src = rest
		if kind >= snappySkippable {
			continue
		}
		var p []byte
		size, err := snappySize(kind, body)
		if err != nil {
			return nil, err
		}
		p = dst[n : n+size]
		n += size
		if kind == snappyPlain {
			copy(p, body[4:])
		} else if _, err := snappy.Decode(p, body[4:]); err != nil {
			return nil, err
		}
		if snappySum(p) != binary.LittleEndian.Uint32(body) {
			return nil, errSum
		}
	}
	return dst, nil
}

func (d *snappyDecoder) reset() { d.begun = false }

// checkSnappy walks the chunks before any memory is taken: they are whole, of types that may stand in
// a context that is under way, and their lengths once decoded add up to plain.
func checkSnappy(src []byte, plain int) error {
	for len(src) > 0 {
		kind, body, rest := cutSnappyChunk(src)
		if body == nil {
			return errChunk
		}
		src = rest
		if kind == snappyIdentifier {
			return errStream
		}
		if kind >= snappySkippable {
			continue
		}
		size, err := snappySize(kind, body)
		if err != nil {
			return err
		}
		if size > plain {
			return errExcess
		}
		plain -= size
	}
	if plain > 0 {
		return errShort
	}
	return nil
}

// cutSnappyChunk returns a nil body when src does not begin with a whole chunk.
func cutSnappyChunk(src []byte) (kind byte, body, rest []byte) {
	if len(src) < 4 {
		return 0, nil, nil
	}
	size := int(src[1]) | int(src[2])<<8 | int(src[3])<<16
	if size > len(src)-4 {
		return 0, nil, nil
	}
	return src[0], src[4 : 4+size], src[4+size:]
}

// snappySize returns the length of a data chunk once decoded.
func snappySize(kind byte, body []byte) (int, error) {
	if kind > snappyPlain || len(body) < 4 {
		return 0, errChunk
	}
	size := len(body) - 4
	if kind == snappyCompressed {
		var err error
		if size, err = snappy.DecodedLen(body[4:]); err != nil {
			return 0, err
		}
	}
	if size > snappyChunk {
		return 0, errChunk
	}
	return size, nil
}

// snappySum is the masked CRC-32C of the framing format.
func snappySum(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
