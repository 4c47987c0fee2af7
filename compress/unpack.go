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
type unpacker struct {
	values

	// The block being unpacked.
	dst, vals []byte // what is left of the room and of the values
	uuid      [16]byte
	randoms   int  // UUIDs of version 4 so far
	shared    byte // what four of them share
}

// unpack fills dst from a packed block and the values beside it: exactly, or it fails.
func (u *unpacker) unpack(dst, src, vals []byte) error {
	u.dst, u.vals, u.randoms = dst, vals, 0
	defer func() { u.dst, u.vals = nil, nil }()
	for {
		n := bytes.IndexByte(src, mark)
		if n < 0 {
			n = len(src)
		}
		if n > len(u.dst) {
			return errExcess
		}
		copy(u.dst, src[:n])
		u.dst = u.dst[n:]
		if src = src[n:]; len(src) == 0 {
			break
		}
		used, err := u.value(src)
		if err != nil {
			return err
		}
		src = src[used:]
	}
	if len(u.dst) > 0 {
		return errShort
	}
	if len(u.vals) > 0 {
		return errLeft
	}
	return nil
}

// value writes what the mark that begins src stands for, and returns how much of src says it.
func (u *unpacker) value(src []byte) (used int, err error) {
	if len(src) < 2 {
		return 0, errPacked
	}
	op, v := src[1], []byte(nil)
	used = 2
	switch {
	case op == opMark:
		if len(u.dst) == 0 {
			return 0, errExcess
		}
		u.dst[0] = mark
		u.dst = u.dst[1:]
		return used, nil
	case op == opNumber || op >= opZeros+minDigits && op <= opZeros+maxDigits:
		return used, u.number(max(0, int(op)-opZeros))
	case op == opNear || op == opSlot:
		if used += int(op - opNear + 1); len(src) < used {
			return 0, errPacked
		}
		slot := (u.next - 1 - int(src[2]) + slots) % slots
		if op == opSlot {
			slot = int(src[2])<<8 | int(src[3])
		}
		if slot >= len(u.ring) || u.ring[slot].op == 0 {
			return 0, errValue
		}
		op, v = u.ring[slot].op, u.ring[slot].bytes()
	case op == opRandom:
		if v = u.random(); v == nil {
			return 0, errValue
		}
		op = opUUID
		u.rememberNew(op, v)
	default:
		size := int(forms[op].size)
		if size == 0 || size > len(u.vals) {
			return 0, errValue
		}
		v, u.vals = u.vals[:size], u.vals[size:]
		u.rememberNew(op, v)
	}
	size := int(forms[op].text)
	if size > len(u.dst) {
		return 0, errExcess
	}
	writeText(u.dst[:size], op, v)
	u.dst = u.dst[size:]
	return used, nil
}

func (u *unpacker) rememberNew(op byte, v []byte) {
	if u.remembers(len(v)) {
		u.remember(op, v)
	}
}

// random takes a UUID of version 4, nil when there is none left.
func (u *unpacker) random() []byte {
	turn := u.randoms % 4
	u.randoms++
	if turn == 0 && len(u.vals) > 0 {
		u.shared, u.vals = u.vals[0], u.vals[1:]
	}
	if len(u.vals) < 15 {
		return nil
	}
	v, in := u.uuid[:], u.vals[:15]
	u.vals = u.vals[15:]
	copy(v, in[:8])
	copy(v[9:], in[8:])
	v[6], v[8] = 0x40|in[6]>>4, 0x80|in[6]<<2&0x3c|u.shared>>(2*turn)&3
	return v
}

// number writes the next number in decimal, with zeros in front up to so many digits if not 0.
func (u *unpacker) number(digits int) error {
	n, rest, err := cutLength(u.vals, 5)
	if err != nil {
		return err
	}
	u.vals = rest
	size := 1
	for m := n; m >= 10; m /= 10 {
		size++
	}
	if size > maxDigits || digits > 0 && size > digits {
		return errValue
	}
	if size = max(size, digits); size > len(u.dst) {
		return errExcess
	}
	for i := size - 1; i >= 0; i-- {
		u.dst[i] = '0' + byte(n%10)
		n /= 10
	}
	u.dst = u.dst[size:]
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
