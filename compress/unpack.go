package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
)

var (
	errPacked = errors.New("not a packed block")
	errValue  = errors.New("no such packed value")
)

// unpacker is the receiving end's side of packing.
type unpacker struct{ values }

// unpack fills dst from a packed block and the values beside it: exactly, or it fails.
func (u *unpacker) unpack(dst, src, vals []byte) error {
	for {
		n := bytes.IndexByte(src, mark)
		if n < 0 {
			n = len(src)
		}
		if n > len(dst) {
			return errExcess
		}
		copy(dst, src[:n])
		dst = dst[n:]
		if src = src[n:]; len(src) == 0 {
			break
		}
		if len(src) < 2 {
			return errPacked
		}
		op, v := src[1], []byte(nil)
		src = src[2:]
		switch op {
		case opMark:
			if len(dst) == 0 {
				return errExcess
			}
			dst[0] = mark
			dst = dst[1:]
			continue
		case opNear, opSlot:
			slot, size := 0, int(op-opNear)+1
			if len(src) < size {
				return errPacked
			}
			if slot = int(src[0]); op == opNear {
				slot = (u.next - 1 - slot + slots) % slots
			} else {
				slot = slot<<8 | int(src[1])
			}
			src = src[size:]
			if slot >= len(u.ring) || u.ring[slot].op == 0 {
				return errValue
			}
			op, v = u.ring[slot].op, u.ring[slot].bytes()
		default:
			size := int(forms[op].size)
			if size == 0 || size > len(vals) {
				return errValue
			}
			v, vals = vals[:size], vals[size:]
			if u.remembers(size) {
				u.remember(op, v)
			}
		}
		size := int(forms[op].text)
		if size > len(dst) {
			return errExcess
		}
		writeText(dst[:size], op, v)
		dst = dst[size:]
	}
	if len(dst) > 0 {
		return errShort
	}
	if len(vals) > 0 {
		return errLeft
	}
	return nil
}

// writeText fills dst with the text of a value.
func writeText(dst []byte, op byte, v []byte) {
	switch {
	case op == opUUID:
		writeUUID(dst, v)
	case op == opTime:
		writeTime(dst, binary.BigEndian.Uint32(v))
	case op <= opHex+maxHex:
		writeHex(dst, v, lowerTen)
	case op < opBase64URL+minBase64:
		writeHex(dst, v, upperTen)
	default:
		writeBase64(dst, v)
	}
}

func writeBase64(dst, v []byte) {
	for ; len(dst) >= 4; dst, v = dst[4:], v[3:] {
		b := uint32(v[0])<<16 | uint32(v[1])<<8 | uint32(v[2])
		dst[0], dst[1], dst[2], dst[3] = base64URL[b>>18], base64URL[b>>12&63], base64URL[b>>6&63], base64URL[b&63]
	}
	var b uint32
	for i, c := range v {
		b |= uint32(c) << (16 - 8*i)
	}
	for i := range dst {
		dst[i] = base64URL[b>>(18-6*i)&63]
	}
}

func writeTime(dst []byte, v uint32) {
	copy(dst, "0000-00-00T00:00:00")
	put := func(i int, n uint32) { dst[i], dst[i+1] = '0'+byte(n/10), '0'+byte(n%10) }
	put(17, v%60)
	v /= 60
	put(14, v%60)
	v /= 60
	put(11, v%24)
	v /= 24
	put(8, v%31+1)
	v /= 31
	put(5, v%12+1)
	year := 1970 + v/12
	put(0, year/100)
	put(2, year%100)
}
