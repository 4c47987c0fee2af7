package pool

import (
	"errors"
	"io"
)

// input reads a connection ahead into a buffer, but for large payloads, which go
// straight to where they stay.
type input struct {
	r       io.Reader
	onRead  func(n int) // told of each read that gave bytes; nil-able
	buf     []byte
	at, end int  // what is unread of buf
	isBulk  bool // the payload before was large, so the next may be
}

const (
	inputSize = 32 << 10
	// bulkAhead is how much is read ahead while payloads are large: of the next of
	// them it would have to be copied.
	bulkAhead = 4 << 10
	// headerAhead is how much is read together with a large payload: the header of
	// the next frame, and of another after a short one.
	headerAhead = 64
)

func newInput(r io.Reader) *input { return &input{r: r, buf: make([]byte, inputSize)} }

// Read reads what is there, or else once.
func (in *input) Read(p []byte) (int, error) {
	if in.at == in.end && len(p) > 0 {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, in.buf[in.at:in.end])
	in.at += n
	return n, nil
}

func (in *input) ReadByte() (byte, error) {
	if in.at == in.end {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	in.at++
	return in.buf[in.at-1], nil
}

// buffered is what can be read without waiting.
func (in *input) buffered() []byte { return in.buf[in.at:in.end] }

// peek waits until n bytes are there, and does not use them up. It is for the
// beginning, when there is room for them behind what is unread.
func (in *input) peek(n int) ([]byte, error) {
	for in.end-in.at < n {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	return in.buf[in.at : in.at+n], nil
}

// read reads once, whatever is there.
func (in *input) read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	if n > 0 && in.onRead != nil {
		in.onRead(n)
	}
	return n, err
}

// maxEmptyReads is how many reads in a row may give neither bytes nor an error.
const maxEmptyReads = 100

// fill reads once, behind what is unread.
func (in *input) fill() error {
	if in.at == in.end {
		in.at, in.end = 0, 0
	}
	room := in.buf[in.end:]
	if in.isBulk {
		in.isBulk = false
		room = room[:min(len(room), bulkAhead)]
	}
	for range maxEmptyReads {
		n, err := in.read(room)
		if in.end += n; n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// readPayload fills p, and in the same reads up to headerAhead bytes behind it, as
// far as p has the capacity.
func (in *input) readPayload(p []byte) error {
	n := copy(p, in.buf[in.at:in.end])
	in.at += n
	room := p[:min(cap(p), len(p)+headerAhead)]
	for n < len(p) {
		k, err := in.read(room[n:])
		if n += k; err != nil && n < len(p) {
			if errors.Is(err, io.EOF) {
				return io.ErrUnexpectedEOF
			}
			return err
		}
	}
	if n > len(p) { // then the buffer was used up
		in.at, in.end = 0, copy(in.buf, room[len(p):n])
	}
	in.isBulk = true
	return nil
}
