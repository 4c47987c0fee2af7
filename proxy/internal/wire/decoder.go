package wire

import (
	"encoding/binary"
	"io"
	"math"
	"strconv"
	"time"
)

// Decoder gives the records of batches: one direction of one stream, whose dictionary and ids it
// keeps. It is not for concurrent use. The peer's bytes cannot make it panic, nor take memory
// beyond the dictionary's limits and a record's limit of fields; it allocates only to insert into
// the dictionary, and for an error.
type Decoder struct {
	dict   dict
	limits Limits
	lastID uint32 // of the last request record
	base   uint32 // of the last response record
	err    *Error // the first; nothing is decoded after it

	// The batch being decoded.
	shared, raw []byte
	pos, rawPos int
	end         int // of the record's payload in shared

	// The record being decoded.
	fieldCount int
	fieldBytes int
	over       Over
	hasLength  bool // it has a Content-Length
	lengthAt   int  // in its fields, if the value is to be told by the body; -1 if there is none
	digits     [20]byte
}

// NewDecoder returns the decoder of a stream on which nothing has been received.
func NewDecoder(dictLimits DictLimits, limits Limits) *Decoder {
	return &Decoder{dict: dict{limits: dictLimits}, limits: limits.withDefaults()}
}

// Reset begins a batch, whose sum was checked; clear is the header's. It takes ownership of
// both slices until the next Reset: records refer to them.
func (d *Decoder) Reset(shared, raw []byte, clear bool) {
	d.shared, d.raw, d.pos, d.rawPos, d.end = shared, raw, 0, 0, 0
	if clear {
		d.dict.reset()
	}
	if len(shared)+len(raw) > d.limits.Batch {
		d.failWith(ResetCalm, "batch over limit")
	}
}

// Next decodes the batch's next record into rec, which is meant to be used again and again: what it
// holds is valid until the next Reset, the value of a Content-Length and the slices of fields
// until the next call. Names and values must not be changed: other records share them.
//
// It returns io.EOF at the end of the batch. Any other error is an [*Error]: a stream error, after which
// every call returns the same. A record over a limit is returned with rec.Over set, and the
// stream lives on.
//
// The caller judges what this stream may carry (types by end and by kind of stream, BodyFollows, 101,
// Upgrade and TE), and ids: of exchanges not in flight, and above all seen.
func (d *Decoder) Next(rec *Record) error {
	for d.err == nil && d.pos < len(d.shared) {
		t := Type(d.shared[d.pos])
		d.pos++
		d.end = len(d.shared)
		n := d.varint()
		if uint64(n) > uint64(d.end-d.pos) {
			d.fail("record longer than its batch")
		}
		if d.err != nil {
			break
		}
		d.end = d.pos + int(n)
		if t >= firstReserved && t <= lastReserved {
			d.pos = d.end
			continue
		}
		d.record(t, rec)
		if d.err == nil && d.pos != d.end {
			d.fail("record longer than its content")
		}
		if d.err == nil {
			return nil
		}
	}
	if d.err == nil && d.rawPos != len(d.raw) {
		d.fail("raw section longer than its records use")
	}
	if d.err != nil {
		return d.err
	}
	return io.EOF
}

func (d *Decoder) record(t Type, rec *Record) {
	rec.Type, rec.ID = t, 0
	d.fieldCount, d.fieldBytes, d.over, d.hasLength, d.lengthAt = 0, 0, OverNone, false, -1
	switch t {
	case TypeRequest:
		d.request(rec)
	case TypeResponse, TypeBodyOnStream, TypeOpenForExchange:
		d.response(t, rec)
	case TypeCancel, TypeDrain:
		rec.ID = d.varint()
	case TypeFailed:
		rec.ID = d.varint()
		rec.Code = d.code()
		if rec.Text = d.bytes(); len(rec.Text) > maxText {
			d.fail("text over limit")
		}
	case TypeNotStarted:
		rec.ID = d.varint()
		rec.Code = d.code()
		rec.After = d.varint()
	case TypePing, TypePong:
		copy(rec.Ping[:], d.take(8))
	case TypeData:
		flags := d.byte()
		if flags != bodyShared && flags != bodyRaw {
			d.fail("bad flags")
		}
		rec.Data, rec.DataRaw = d.body(flags), flags == bodyRaw
	case TypeEnd:
		flags := d.byte()
		if flags&^flagTrailers != 0 {
			d.fail("bad flags")
		}
		rec.Trailers = rec.Trailers[:0]
		if flags != 0 {
			rec.Trailers = d.fields(rec.Trailers, inTrailers)
		}
	case TypeRelease:
		rec.Stream = d.uint32()
	default:
		d.fail("unknown record type")
	}
	rec.Over = d.over
}

func (d *Decoder) request(rec *Record) {
	if d.lastID == math.MaxInt32 {
		d.fail("too many exchanges")
		return
	}
	d.lastID++
	rec.ID = d.lastID
	r := &rec.Request
	flags := d.flags(flagTrailers)
	r.TimeLeft = time.Duration(d.varint()) * time.Millisecond
	r.Method = d.method()
	if r.Target = d.bytes(); !IsTarget(r.Target) {
		d.fail("bad target")
	}
	if len(r.Target) > d.limits.Target {
		d.over = OverTarget
	}
	r.Authority = d.authority()
	r.Fields = d.fields(r.Fields[:0], placeOf(flags))
	r.BodyKind, r.RawBody, r.Body = kindOf(flags), flags&bodyMask == bodyRaw, d.body(flags)
	d.tellLength(r.Fields, r.Body)
	r.Trailers = r.Trailers[:0]
	if flags&flagTrailers != 0 {
		r.Trailers = d.fields(r.Trailers, inTrailers)
	}
}

func (d *Decoder) response(t Type, rec *Record) {
	id := int64(d.base) + 1 + int64(unzigzag(d.varint()))
	if id < 1 || id > math.MaxInt32 {
		d.fail("id out of range")
		return
	}
	d.base = uint32(id)
	rec.ID = d.base
	r := &rec.Response
	flags := d.flags(flagTrailers | flagReason)
	r.Status = int(d.varint())
	isInterim := r.Status < 200 && r.Status != 101
	switch {
	case r.Status < 100 || r.Status > 999:
		d.fail("bad status")
	case isInterim && flags&bodyMask != 0:
		d.fail("interim response with a body")
	case t != TypeResponse && (flags&bodyMask != bodyFollows || r.Status < 200):
		d.fail("no body to follow")
	}
	r.Reason = nil
	if flags&flagReason != 0 {
		if r.Reason = d.bytes(); !isReason(r.Reason) {
			d.fail("bad reason")
		}
		d.countBytes(len(r.Reason))
	}
	r.Fields = d.fields(r.Fields[:0], placeOf(flags))
	r.BodyKind, r.RawBody, r.Body = kindOf(flags), flags&bodyMask == bodyRaw, d.body(flags)
	d.tellLength(r.Fields, r.Body)
	r.Trailers = r.Trailers[:0]
	if flags&flagTrailers != 0 {
		r.Trailers = d.fields(r.Trailers, inTrailers)
	}
	r.Stream = 0
	if t == TypeBodyOnStream {
		r.Stream = d.uint32()
	}
}

// flags takes a message's flags, of which others besides the body's are allowed.
func (d *Decoder) flags(allowed byte) byte {
	flags := d.byte()
	isWhole := flags&bodyMask == bodyShared || flags&bodyMask == bodyRaw
	if flags&^(bodyMask|allowed) != 0 || flags&flagTrailers != 0 && !isWhole {
		d.fail("bad flags")
	}
	return flags
}

func kindOf(flags byte) Body {
	switch flags & bodyMask {
	case 0:
		return BodyNone
	case bodyFollows:
		return BodyFollows
	}
	return BodyWhole
}

func (d *Decoder) method() []byte {
	code := d.varint()
	if code >= uint32(len(methods)) {
		d.fail("unknown method")
		return nil
	}
	if code != 0 {
		return methods[code]
	}
	m := d.bytes()
	if !IsToken(m) || string(m) == "CONNECT" {
		d.fail("bad method")
	}
	d.countBytes(len(m))
	return m
}

// methods[code] is a method of methodCode, immutable.
var methods = [...][]byte{nil, []byte("GET"), []byte("HEAD"), []byte("POST"), []byte("PUT"), []byte("DELETE"),
	[]byte("OPTIONS"), []byte("PATCH"), []byte("TRACE")}

func (d *Decoder) body(flags byte) []byte {
	switch flags & bodyMask {
	case bodyShared:
		return d.bytes()
	case bodyRaw:
		return d.takeRaw(d.varint())
	}
	return nil
}

// tellLength sets the Content-Length that the record left to its body.
func (d *Decoder) tellLength(fields []Field, body []byte) {
	if d.lengthAt >= 0 && d.lengthAt < len(fields) {
		fields[d.lengthAt].Value = strconv.AppendUint(d.digits[:0], uint64(len(body)), 10)
	}
}

func (d *Decoder) code() Code {
	if c := Code(d.varint()); c.isKnown() {
		return c
	}
	return CodeInternal
}

// The methods below take from the record. The first that cannot sets err, and all give zeros from then on.

func (d *Decoder) varint() uint32 {
	if d.pos < d.end && d.shared[d.pos] < 0x80 {
		d.pos++
		return uint32(d.shared[d.pos-1])
	}
	return d.longVarint()
}

func (d *Decoder) longVarint() uint32 {
	v, n := parseVarint(d.shared[d.pos:d.end])
	if n == 0 {
		d.fail("bad integer")
	}
	d.pos += n
	return v
}

func (d *Decoder) byte() byte {
	if d.pos >= d.end {
		d.fail("record cut short")
		return 0
	}
	d.pos++
	return d.shared[d.pos-1]
}

func (d *Decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// bytes takes an s.
func (d *Decoder) bytes() []byte { return d.take(d.varint()) }

func (d *Decoder) take(n uint32) []byte {
	if uint64(n) > uint64(d.end-d.pos) {
		d.fail("record cut short")
		return nil
	}
	p := d.shared[d.pos : d.pos+int(n) : d.pos+int(n)]
	d.pos += int(n)
	return p
}

func (d *Decoder) takeRaw(n uint32) []byte {
	if uint64(n) > uint64(len(d.raw)-d.rawPos) {
		d.fail("raw section cut short")
		return nil
	}
	p := d.raw[d.rawPos : d.rawPos+int(n) : d.rawPos+int(n)]
	d.rawPos += int(n)
	return p
}

func (d *Decoder) fail(msg string) { d.failWith(ResetProtocol, msg) }

func (d *Decoder) failWith(code ResetCode, msg string) {
	if d.err == nil {
		d.err = &Error{Code: code, Offset: d.pos, Msg: msg}
	}
	d.pos = d.end // nothing more can be taken
}
