package wire

import (
	"encoding/binary"
	"hash/crc32"
	"io"
)

// HeaderSize is the length of a batch's header.
const HeaderSize = 14

// Bits of a header's first byte.
const (
	codecMask  = 0x07
	flagAnew   = 0x08
	flagClear  = 0x10
	flagPacked = 0x20
	flagsKnown = codecMask | flagAnew | flagClear | flagPacked

	maxCodec = 3 // section 5: none, snappy, flate, zstd
)

// maxUint24 is the largest length a header can tell.
const maxUint24 = 1<<24 - 1

// Batch holds the two sections of a batch being filled by an [Encoder]. The zero value is an empty
// batch. To use its memory again, cut both slices to zero length and set Clear to false.
type Batch struct {
	Shared []byte // records; goes through the stream's codec
	Raw    []byte // secret values and compressed bodies; never does
	Clear  bool   // set by the encoder: the dictionary is emptied before the first record

	Records int // for its user's count; not looked at here
}

// Header is what precedes a batch's sections on the wire.
type Header struct {
	Codec  uint8  // id of section 5
	Anew   bool   // the codec's context starts anew; not with codec 0, which has none
	Clear  bool   // the dictionary is emptied first
	Packed bool   // the shared section is in packed form; not with codec 0
	Coded  int    // length of the shared section as sent
	Plain  int    // and once decoded
	Raw    int    // length of the raw section
	Sum    uint32 // see Checksum
}

// AppendHeader appends the HeaderSize bytes of h. The lengths have 24 bits: the limit on a batch
// keeps them below, so a larger one is a bug of the caller and panics.
func AppendHeader(dst []byte, h Header) []byte {
	if uint(h.Coded) > maxUint24 || uint(h.Plain) > maxUint24 || uint(h.Raw) > maxUint24 || h.Codec > maxCodec {
		panic("h2tp: bug: batch header out of range")
	}
	flags := h.Codec
	if h.Anew && h.Codec != 0 {
		flags |= flagAnew
	}
	if h.Packed && h.Codec != 0 {
		flags |= flagPacked
	}
	if h.Clear {
		flags |= flagClear
	}
	dst = append(dst, flags,
		byte(h.Coded>>16), byte(h.Coded>>8), byte(h.Coded),
		byte(h.Plain>>16), byte(h.Plain>>8), byte(h.Plain),
		byte(h.Raw>>16), byte(h.Raw>>8), byte(h.Raw))
	return binary.BigEndian.AppendUint32(dst, h.Sum)
}

// ParseHeader parses the first HeaderSize bytes of p; fewer are io.ErrUnexpectedEOF. Any other error
// is an [*Error]. All of section 3 that can be checked before memory is taken has been checked
// when it returns nil; batchLimit bounds Plain + Raw and thereby, within an eighth and 1 KiB, Coded.
func ParseHeader(p []byte, batchLimit int) (Header, error) {
	if len(p) < HeaderSize {
		return Header{}, io.ErrUnexpectedEOF
	}
	h := Header{
		Codec:  p[0] & codecMask,
		Anew:   p[0]&flagAnew != 0,
		Clear:  p[0]&flagClear != 0,
		Packed: p[0]&flagPacked != 0,
		Coded:  uint24(p[1:]),
		Plain:  uint24(p[4:]),
		Raw:    uint24(p[7:]),
		Sum:    binary.BigEndian.Uint32(p[10:]),
	}
	switch {
	case p[0]&^flagsKnown != 0:
		return Header{}, &Error{ResetProtocol, 0, "unknown batch flag"}
	case h.Codec > maxCodec:
		return Header{}, &Error{ResetProtocol, 0, "unknown codec"}
	case h.Anew && h.Codec == 0:
		return Header{}, &Error{ResetProtocol, 0, "anew without a codec"}
	case h.Packed && h.Codec == 0:
		return Header{}, &Error{ResetProtocol, 0, "packed without a codec"}
	case h.Plain == 0:
		return Header{}, &Error{ResetProtocol, 4, "empty batch"}
	case h.Plain+h.Raw > batchLimit:
		return Header{}, &Error{ResetCalm, 4, "batch over limit"}
	case h.Codec == 0 && h.Coded != h.Plain:
		return Header{}, &Error{ResetProtocol, 1, "lengths differ without a codec"}
	case h.Coded > h.Plain+h.Plain/8+1024:
		return Header{}, &Error{ResetProtocol, 1, "shared section expanded too far"}
	}
	return h, nil
}

func uint24(p []byte) int { return int(p[0])<<16 | int(p[1])<<8 | int(p[2]) }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns what a header's Sum must be: the CRC-32C of the decoded shared section followed by
// the raw section. Both ends' codec contexts last across batches; the sum tells when they went apart.
func Checksum(shared, raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(shared, castagnoli), castagnoli, raw)
}
