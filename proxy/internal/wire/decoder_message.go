package wire

import (
	"math"
	"strconv"
	"time"
)

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
