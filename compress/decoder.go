package compress

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// DecoderOptions are the bounds of one decoder; the zero value is good.
type DecoderOptions struct {
	// Window bounds the window, in bytes, from 1 KiB to 8 MiB, that a zstd context may ask for, and
	// with it the decoder's memory. If zero, 256 KiB is used. A context that asks for more is ErrWindow.
	Window int
}

// Decoder is the receiving end of one context. It is not safe for concurrent use.
type Decoder struct {
	// immutable
	id     ID
	memory *Memory
	cost   int64

	// owned by whoever uses the decoder
	codec    decoder // nil once closed
	err      error   // why the context is broken
	unpacker unpacker
}

// A decoder appends exactly plain bytes, at least 1, or fails; it keeps neither dst nor src. It sees
// no block after one that failed, until reset.
type decoder interface {
	decode(dst, src []byte, plain int) ([]byte, error)
	reset()
}

// ID returns the codec.
func (d *Decoder) ID() ID { return d.id }

// Decode appends the plain bytes of the block src to dst and returns the longer slice. It appends
// exactly plain bytes: a block that holds more or fewer, or that is not used up, is ErrCorrupt. plain
// comes from the peer and must be within the caller's limit; room for it is taken only when src is
// long enough for so many bytes. It keeps neither slice. With room in dst nothing is allocated.
//
// An error leaves dst as it was and the decoder dead until Reset. No error does not mean that the
// bytes are right: see the package comment.
func (d *Decoder) Decode(dst, src []byte, plain int) ([]byte, error) {
	switch {
	case d.codec == nil:
		return dst, ErrClosed
	case d.err != nil:
		return dst, d.err
	}
	b, err := dst, error(errEmpty)
	if plain > 0 {
		b, err = d.codec.decode(dst, src, plain)
	}
	return d.judge(dst, b, err)
}

// DecodePacked is Decode for a block in packed form.
func (d *Decoder) DecodePacked(dst, src []byte, plain int) ([]byte, error) {
	switch {
	case d.codec == nil:
		return dst, ErrClosed
	case d.err != nil:
		return dst, d.err
	}
	b, err := d.unpack(dst, src, plain)
	return d.judge(dst, b, err)
}

func (d *Decoder) unpack(dst, src []byte, plain int) ([]byte, error) {
	text, src, err := cutLength(src, 4)
	if err != nil {
		return nil, err
	}
	size, src, err := cutLength(src, 4)
	switch {
	case err != nil:
		return nil, err
	case d.id == None || text == 0 || size > len(src) || text > plain+plain/maxMarks:
		return nil, errPacked
	case plain > maxUnpacked*text:
		return nil, errRatio
	}
	buf := packBufs.Get().(*packBuf)
	defer buf.release()
	b, err := d.codec.decode(buf.text[:0], src[size:], text)
	if err != nil {
		return nil, err
	}
	buf.text = b
	n := len(dst)
	dst = slices.Grow(dst, plain)[:n+plain]
	return dst, d.unpacker.unpack(dst[n:], b, src[:size])
}

// judge completes what a decoding method returns.
func (d *Decoder) judge(dst, b []byte, err error) ([]byte, error) {
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, ErrWindow) {
		err = fmt.Errorf("%w: %v: %v", ErrCorrupt, d.id, err)
	}
	d.err = err
	return dst, err
}

// Reset starts the context anew, as the peer's encoder did before the next block.
func (d *Decoder) Reset() {
	if d.codec == nil {
		return
	}
	d.err = nil
	d.codec.reset()
	d.unpacker.reset()
}

// Close gives up the context and its reservation. Second calls do nothing.
func (d *Decoder) Close() {
	if d.codec == nil {
		return
	}
	d.codec, d.unpacker = nil, unpacker{}
	d.memory.release(d.cost)
}

var (
	errShort  = errors.New("block ends early")
	errExcess = errors.New("block holds more than announced")
	errLeft   = errors.New("bytes left over")
	errRatio  = errors.New("block is too short for what it announces")
)

// sink is the writer below a streaming encoder: it appends to a slice that is there for one block.
type sink struct{ b []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// feed is the reader below a streaming decoder. It never says io.EOF, which would end the context:
// asked for more than the block has, it fails.
type feed struct{ b []byte }

func (f *feed) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, errShort
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

// readExactly fills p from a streaming decoder without ever asking it for a byte that a right block
// does not hold: both decoders would take the end of their feed for the end of the context. The last
// byte is read with room for one more, which shows an excess.
func readExactly(r io.Reader, p []byte, last *[2]byte) error {
	end := len(p) - 1
	for n := 0; n < end; {
		m, err := r.Read(p[n:end])
		if err != nil {
			return err
		}
		n += m
	}
	m, err := r.Read(last[:])
	if err != nil {
		return err
	}
	if m != 1 {
		return errExcess
	}
	p[end] = last[0]
	return nil
}
