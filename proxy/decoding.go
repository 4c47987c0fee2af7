package proxy

import (
	"errors"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// decoding is the codec's context of what comes on a stream. It is not safe for
// concurrent use.
type decoding struct {
	mem    *compress.Memory
	window int
	cdec   *compress.Decoder
	codec  compress.ID // of cdec
	coded  time.Time   // when cdec was last used
	isUsed bool        // cdec has seen a batch
}

// prepare reserves the memory of a decoder before the stream is opened, and
// returns what can be announced: all codecs, or what the process still has
// memory for.
func (d *decoding) prepare(mem *compress.Memory, window int) []compress.ID {
	d.mem, d.window = mem, window
	for i, id := range []compress.ID{compress.Zstd, compress.Snappy} {
		if dec, err := mem.NewDecoder(id, compress.DecoderOptions{Window: window}); err == nil {
			d.cdec, d.codec, d.coded = dec, id, time.Now()
			return [][]compress.ID{allCodecs, lightCodecs}[i]
		}
	}
	return []compress.ID{compress.None}
}

var errCodec = errors.New("codec without context")

// decode appends the plain bytes of a shared section.
func (d *decoding) decode(dst, src []byte, h wire.Header) ([]byte, error) {
	id := compress.ID(h.Codec)
	switch {
	case !h.Anew && (d.cdec == nil || id != d.codec || !d.isUsed):
		return dst, errCodec
	case h.Anew && (d.cdec == nil || id != d.codec):
		d.releaseCodec()
		dec, err := d.mem.NewDecoder(id, compress.DecoderOptions{Window: d.window})
		if err != nil {
			return dst, err
		}
		d.cdec, d.codec = dec, id
	case h.Anew && d.isUsed:
		d.cdec.Reset()
	}
	d.isUsed, d.coded = true, time.Now()
	if h.Packed {
		return d.cdec.DecodePacked(dst, src, h.Plain)
	}
	return d.cdec.Decode(dst, src, h.Plain)
}

func (d *decoding) releaseCodec() {
	if d.cdec != nil {
		d.cdec.Close()
		d.cdec, d.isUsed = nil, false
	}
}
