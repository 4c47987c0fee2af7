package wire

import "encoding/binary"

// The methods of this file take from the record. The first that cannot sets err, and all give zeros
// from then on.

// varint takes a v; the short ones without a call.
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
