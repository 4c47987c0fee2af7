package wire

import (
	"encoding/binary"
	"hash/maphash"
	"strings"
	"time"
)

// minIndexedSecret is the shortest secret value that may be referred to (section 4): shorter ones
// could be guessed whole, and a reference tells who guessed right.
const minIndexedSecret = 20

// Encoder appends records to batches: one direction of one stream, whose dictionary and ids it
// keeps. It is not for concurrent use. What has been appended must be sent, in the order of the
// appends, or the stream must die. It keeps nothing it is given, and allocates only to insert into
// the dictionary and to grow a batch.
type Encoder struct {
	index      index
	secrets    map[string]struct{} // names in lower case besides secretNames
	lastID     uint32              // of the last request record
	base       uint32              // of the last response record
	clearsNext bool                // with the next record that begins a batch
}

// NewEncoder returns the encoder of a stream on which nothing has been sent.
func NewEncoder(limits DictLimits) *Encoder {
	e := &Encoder{}
	e.index.limits = limits
	e.index.seed = maphash.MakeSeed()
	return e
}

// SetSecrets names fields, in any case, whose values are kept from the codec besides those of section
// 4. It is called before the first record; later it also works like Clear, since the dictionary
// may hold such values.
func (e *Encoder) SetSecrets(fieldNames []string) {
	e.secrets = make(map[string]struct{}, len(fieldNames))
	for _, s := range fieldNames {
		if IsToken([]byte(s)) { // others, such as :authority, are no names of fields
			e.secrets[strings.ToLower(s)] = struct{}{}
		}
	}
	if e.index.count > 0 {
		e.Clear()
	}
}

// Clear starts the dictionary anew with the next batch: the first record appended to an empty batch
// empties it, and sets the batch's Clear. Ids go on.
func (e *Encoder) Clear() { e.clearsNext = true }

// AppendRequest appends a request and returns its id: 1 for the stream's first, rising by one.
func (e *Encoder) AppendRequest(b *Batch, r *Request) (id uint32) {
	start := e.begin(b, TypeRequest)
	flags := bodyFlags(r.BodyKind, r.RawBody, r.Trailers)
	p := append(b.Shared, flags)
	p = appendVarint(p, milliseconds(r.TimeLeft))
	if code := methodCode(r.Method); code != 0 {
		p = append(p, code)
	} else {
		p = appendBytes(append(p, 0), r.Method)
	}
	p = appendBytes(p, r.Target)
	p = e.appendField(p, b, &Field{Name: names[staticAuthority].text, Value: r.Authority})
	p = e.appendFields(p, b, r.Fields, flags)
	b.Shared = p
	e.finish(b, start, flags, r.Body, r.Trailers)
	e.lastID++
	return e.lastID
}

// AppendResponse appends a response, interim ones included.
func (e *Encoder) AppendResponse(b *Batch, id uint32, r *Response) {
	start := e.begin(b, TypeResponse)
	flags := e.appendHead(b, id, r, bodyFlags(r.BodyKind, r.RawBody, r.Trailers))
	e.finish(b, start, flags, r.Body, r.Trailers)
}

// AppendBodyOnStream appends a response whose body goes onto the ready stream r.Stream. Body, its
// kind and the trailers are not looked at.
func (e *Encoder) AppendBodyOnStream(b *Batch, id uint32, r *Response) {
	start := e.begin(b, TypeBodyOnStream)
	e.appendHead(b, id, r, bodyFollows)
	b.Shared = binary.BigEndian.AppendUint32(b.Shared, r.Stream)
	e.end(b, start, 0)
}

// AppendOpenForExchange appends a response for whose body the front shall open a stream. Body, its
// kind and the trailers are not looked at.
func (e *Encoder) AppendOpenForExchange(b *Batch, id uint32, r *Response) {
	start := e.begin(b, TypeOpenForExchange)
	e.appendHead(b, id, r, bodyFollows)
	e.end(b, start, 0)
}

func (e *Encoder) appendHead(b *Batch, id uint32, r *Response, flags byte) byte {
	if r.Reason != nil {
		flags |= flagReason
	}
	p := appendVarint(b.Shared, zigzag(int32(int64(id)-int64(e.base)-1)))
	e.base = id
	p = append(p, flags)
	p = appendVarint(p, uint32(r.Status))
	if r.Reason != nil {
		p = appendBytes(p, r.Reason)
	}
	b.Shared = e.appendFields(p, b, r.Fields, flags)
	return flags
}

// begin appends a record's type and room for a length of one byte, and returns the payload's start.
func (e *Encoder) begin(b *Batch, t Type) int {
	if e.clearsNext && len(b.Shared) == 0 {
		e.index.reset()
		e.clearsNext, b.Clear = false, true
	}
	b.Shared = append(b.Shared, byte(t), 0)
	return len(b.Shared)
}

// finish appends body and trailers, and sets the length. Without trailers the length is known before
// the body is copied, and only what precedes it moves if the length needs more than one byte.
func (e *Encoder) finish(b *Batch, start int, flags byte, body []byte, trailers []Field) {
	kind := flags & bodyMask
	if kind == bodyShared || kind == bodyRaw {
		b.Shared = appendVarint(b.Shared, uint32(len(body)))
	}
	if kind == bodyRaw {
		b.Raw = append(b.Raw, body...)
		body = nil
	} else if kind != bodyShared {
		body = nil
	}
	if flags&flagTrailers == 0 {
		e.end(b, start, len(body))
		b.Shared = append(b.Shared, body...)
		return
	}
	b.Shared = append(b.Shared, body...)
	b.Shared = e.appendFields(b.Shared, b, trailers, 0)
	e.end(b, start, 0)
}

// end sets the length of the record whose payload began at start and lacks only more bytes yet to
// come. Most records are below 128 bytes and never move.
func (e *Encoder) end(b *Batch, start, more int) {
	n := uint32(len(b.Shared) - start + more)
	if n < 0x80 {
		b.Shared[start-1] = byte(n)
		return
	}
	extra := varintSize(n) - 1
	b.Shared = append(b.Shared, "\x00\x00\x00\x00"[:extra]...)
	copy(b.Shared[start+extra:], b.Shared[start:len(b.Shared)-extra])
	appendVarint(b.Shared[:start-1], n)
}

func bodyFlags(kind Body, isRaw bool, trailers []Field) byte {
	switch kind {
	case BodyFollows:
		return bodyFollows
	case BodyWhole:
		flags := byte(bodyShared)
		if isRaw {
			flags = bodyRaw
		}
		if len(trailers) > 0 {
			flags |= flagTrailers
		}
		return flags
	}
	return 0
}

func appendBytes(p, s []byte) []byte {
	return append(appendVarint(p, uint32(len(s))), s...)
}

// milliseconds rounds up: a bound must not become 0, which is none. What 32 bits cannot hold, 49 days,
// is bound enough.
func milliseconds(d time.Duration) uint32 {
	if d <= 0 {
		return 0
	}
	return uint32(min((int64(d)-1)/int64(time.Millisecond)+1, 1<<32-1))
}

func methodCode(method []byte) byte {
	switch string(method) {
	case "GET":
		return 1
	case "HEAD":
		return 2
	case "POST":
		return 3
	case "PUT":
		return 4
	case "DELETE":
		return 5
	case "OPTIONS":
		return 6
	case "PATCH":
		return 7
	case "TRACE":
		return 8
	}
	return 0
}
