package wire

import "encoding/binary"

// AppendCancel tells the back that nobody waits for the exchange any more.
func (e *Encoder) AppendCancel(b *Batch, id uint32) { e.appendID(b, TypeCancel, id) }

// AppendDrain tells the front the highest exchange accepted.
func (e *Encoder) AppendDrain(b *Batch, id uint32) { e.appendID(b, TypeDrain, id) }

func (e *Encoder) appendID(b *Batch, t Type, id uint32) {
	start := e.begin(b, t)
	b.Shared = appendVarint(b.Shared, id)
	e.end(b, start, 0)
}

// AppendFailed tells the front that the exchange failed after it was, or may have been, started. Of
// text, which is for logs, 256 bytes are sent.
func (e *Encoder) AppendFailed(b *Batch, id uint32, code Code, text string) {
	start := e.begin(b, TypeFailed)
	text = text[:min(len(text), maxText)]
	p := appendVarint(b.Shared, id)
	p = appendVarint(p, uint32(code))
	p = appendVarint(p, uint32(len(text)))
	b.Shared = append(p, text...)
	e.end(b, start, 0)
}

// AppendNotStarted tells the front that no byte of the exchange reached an upstream, and after how
// many seconds to come again.
func (e *Encoder) AppendNotStarted(b *Batch, id uint32, code Code, after uint32) {
	start := e.begin(b, TypeNotStarted)
	p := appendVarint(b.Shared, id)
	p = appendVarint(p, uint32(code))
	b.Shared = appendVarint(p, after)
	e.end(b, start, 0)
}

// AppendPing asks the peer for a pong with the same bytes.
func (e *Encoder) AppendPing(b *Batch, p [8]byte) {
	start := e.begin(b, TypePing)
	b.Shared = append(b.Shared, p[:]...)
	e.end(b, start, 0)
}

// AppendPong answers a ping.
func (e *Encoder) AppendPong(b *Batch, p [8]byte) {
	start := e.begin(b, TypePong)
	b.Shared = append(b.Shared, p[:]...)
	e.end(b, start, 0)
}

// AppendData appends the next part of a body, to the raw section if it is compressed already. On
// ready and bulk streams only.
func (e *Encoder) AppendData(b *Batch, p []byte, isRaw bool) {
	start := e.begin(b, TypeData)
	flags := bodyFlags(BodyWhole, isRaw, nil)
	b.Shared = append(b.Shared, flags)
	e.finish(b, start, flags, p, nil)
}

// AppendEnd appends the end of a body. On ready and bulk streams only.
func (e *Encoder) AppendEnd(b *Batch, trailers []Field) {
	start := e.begin(b, TypeEnd)
	if len(trailers) == 0 {
		b.Shared = append(b.Shared, 0)
	} else {
		b.Shared = append(b.Shared, flagTrailers)
		b.Shared = e.appendFields(b.Shared, b, trailers, 0)
	}
	e.end(b, start, 0)
}

// AppendRelease asks the back to end a ready stream that it has not acquired.
func (e *Encoder) AppendRelease(b *Batch, stream uint32) {
	start := e.begin(b, TypeRelease)
	b.Shared = binary.BigEndian.AppendUint32(b.Shared, stream)
	e.end(b, start, 0)
}

// AppendHealth tells the front how much of what is behind the back can be reached, in thousandths.
func (e *Encoder) AppendHealth(b *Batch, share uint32) { e.appendID(b, TypeHealth, share) }
