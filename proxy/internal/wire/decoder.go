package wire

import "io"

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
		if t >= firstReserved && t <= lastReserved && t != TypeHealth {
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
	case TypeHealth:
		rec.Share = d.varint()
	default:
		d.fail("unknown record type")
	}
	rec.Over = d.over
}
