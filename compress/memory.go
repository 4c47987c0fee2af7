package compress

import (
	"fmt"
	"sync/atomic"
)

// defaultMemory bounds a process that was not told otherwise: about 110 streams with zstd both ways.
const defaultMemory = 256 << 20

// Memory bounds what the contexts of a process hold together. What counts is a fixed cost for each
// codec, level and window, which is no less than the context can come to hold; blocks and the slices
// given to Encode and Decode do not count. All methods are safe for concurrent use.
type Memory struct {
	limit int64 // immutable; negative is no bound
	used  atomic.Int64
	hits  atomic.Int64
}

// NewMemory returns a Memory that bounds contexts to limit bytes together. If zero, 256 MiB is used.
// If negative, there is no bound.
func NewMemory(limit int64) *Memory {
	if limit == 0 {
		limit = defaultMemory
	}
	return &Memory{limit: limit}
}

// Used returns the bytes reserved by the encoders and decoders that are not closed.
func (m *Memory) Used() int64 { return m.used.Load() }

// Limit returns the bound, negative when there is none.
func (m *Memory) Limit() int64 { return m.limit }

// Refused returns how many contexts there was no room for.
func (m *Memory) Refused() int64 { return m.hits.Load() }

// NewEncoder returns an encoder with a new context. It never waits: when the context does not fit
// under the limit it returns ErrMemory at once, and the caller goes on with a smaller codec.
func (m *Memory) NewEncoder(id ID, opt EncoderOptions) (*Encoder, error) {
	window, err := checkWindow(opt.Window)
	if err != nil {
		return nil, err
	}
	if opt.Level > Best {
		return nil, fmt.Errorf("compress: unknown %v", opt.Level)
	}
	e := &Encoder{id: id, memory: m}
	switch id {
	case None, Snappy:
	case Flate:
		e.cost = flateEncoderCost(opt.Level)
	case Zstd:
		window = powerOfTwo(window)
		e.cost = zstdEncoderCost(opt.Level, window)
	default:
		return nil, fmt.Errorf("compress: unknown %v", id)
	}
	if e.packer.isLight = id <= Snappy; !e.packer.isLight {
		e.cost += packCost
	}
	if err := m.reserve(e.cost); err != nil {
		return nil, err
	}
	switch id {
	case None:
		e.codec = noneCodec{}
	case Snappy:
		e.codec = new(snappyEncoder)
	case Flate:
		e.codec = newFlateEncoder(opt.Level)
	case Zstd:
		e.codec = newZstdEncoder(opt.Level, window)
	}
	return e, nil
}

// NewDecoder returns a decoder with a new context. It never waits: when the context does not fit
// under the limit it returns ErrMemory at once, and the codec must not be offered to the peer.
func (m *Memory) NewDecoder(id ID, opt DecoderOptions) (*Decoder, error) {
	window, err := checkWindow(opt.Window)
	if err != nil {
		return nil, err
	}
	d := &Decoder{id: id, memory: m}
	switch id {
	case None, Snappy:
	case Flate:
		d.cost = flateDecoderCost
	case Zstd:
		d.cost = zstdDecoderCost(window)
	default:
		return nil, fmt.Errorf("compress: unknown %v", id)
	}
	if d.unpacker.isLight = id <= Snappy; !d.unpacker.isLight {
		d.cost += packCost
	}
	if err := m.reserve(d.cost); err != nil {
		return nil, err
	}
	switch id {
	case None:
		d.codec = noneCodec{}
	case Snappy:
		d.codec = new(snappyDecoder)
	case Flate:
		d.codec = newFlateDecoder()
	case Zstd:
		d.codec = newZstdDecoder(window)
	}
	return d, nil
}

func (m *Memory) reserve(n int64) error {
	for {
		used := m.used.Load()
		if m.limit >= 0 && used+n > m.limit {
			m.hits.Add(1)
			return ErrMemory
		}
		if m.used.CompareAndSwap(used, used+n) {
			return nil
		}
	}
}

func (m *Memory) release(n int64) { m.used.Add(-n) }
