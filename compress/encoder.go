package compress

import (
	"bytes"
	"encoding/binary"
)

// EncoderOptions are the choices of one encoder; the zero value is good.
type EncoderOptions struct {
	// Level is how hard the encoder tries. If zero, Fastest is used.
	Level Level

	// Window bounds how far back zstd looks, in bytes, from 1 KiB to 8 MiB, and with it the memory of
	// both ends; it is rounded down to a power of two. If zero, 256 KiB is used. The peer's decoder
	// must allow as much.
	Window int
}

// Encoder is the sending end of one context. It is not safe for concurrent use.
type Encoder struct {
	// immutable
	id     ID
	memory *Memory
	cost   int64

	// owned by whoever uses the encoder
	codec  encoder // nil once closed
	err    error   // why the context is broken
	packer packer
}

// An encoder appends one block, flushed, or starts its context anew; it keeps neither dst nor src.
type encoder interface {
	encode(dst, src []byte) ([]byte, error)
	reset()
}

// ID returns the codec.
func (e *Encoder) ID() ID { return e.id }

// Encode appends the block for src, which must not be empty, to dst and returns the longer slice. The
// block is whole: with it, and all blocks of the context before, the peer can decode all of src. Once
// Encode has returned, src is part of the context: the block must be sent, or the context begun anew.
// It keeps neither slice. With room in dst nothing is allocated; a block takes at most
// [MaxEncodedLen] bytes, but snappy asks for about 12 KiB more room while it works.
//
// An error leaves dst as it was and the encoder dead until Reset.
func (e *Encoder) Encode(dst, src []byte) ([]byte, error) {
	switch {
	case e.codec == nil:
		return dst, ErrClosed
	case e.err != nil:
		return dst, e.err
	case len(src) == 0:
		return dst, errEmpty
	}
	b, err := e.codec.encode(dst, src)
	if err != nil {
		e.err = err
		return dst, err
	}
	return b, nil
}

// EncodePacked is Encode, which it leaves to say what holds for both, for blocks in packed form (PROTOCOL
// section 5) where that pays; isPacked reports whether it did, and which of Decode and DecodePacked is
// to be used. Codec None packs nothing.
func (e *Encoder) EncodePacked(dst, src []byte) (b []byte, isPacked bool, err error) {
	marks := bytes.Count(src, markBytes)
	if e.id == None || e.codec == nil || e.err != nil || marks > len(src)/maxMarks {
		b, err = e.Encode(dst, src)
		return b, false, err
	}
	buf := packBufs.Get().(*packBuf)
	defer buf.release()
	buf.text, buf.vals = e.packer.pack(buf.text[:0], buf.vals[:0], src, marks > 0)
	if e.packer.count == 0 {
		b, err = e.Encode(dst, src)
		return b, false, err
	}
	n := len(dst)
	dst = binary.AppendUvarint(dst, uint64(len(buf.text)))
	dst = binary.AppendUvarint(dst, uint64(len(buf.vals)))
	b, err = e.Encode(append(dst, buf.vals...), buf.text)
	if err != nil {
		return dst[:n], false, err
	}
	return b, true, nil
}

// Reset starts the context anew: the next block needs no other, and the peer's decoder must be reset
// before it sees that block.
func (e *Encoder) Reset() {
	if e.codec == nil {
		return
	}
	e.err = nil
	e.codec.reset()
	e.packer.reset()
}

// Close gives up the context and its reservation. Second calls do nothing.
func (e *Encoder) Close() {
	if e.codec == nil {
		return
	}
	e.codec, e.packer = nil, packer{}
	e.memory.release(e.cost)
}

// MaxEncodedLen is the most bytes a block of n bytes takes, whatever the codec and the bytes. PROTOCOL
// section 3 lets a receiver refuse more.
func MaxEncodedLen(n int) int { return n + n/8 + 1024 }
