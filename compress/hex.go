package compress

import "encoding/binary"

// Eight hex digits at a time, one in each byte of a word, the first in the lowest.

const (
	ones = 0x0101010101010101

	lowerTen = ('a' - '0' - 10) * ones // what letters are more than digits that go on after 9
	upperTen = ('A' - '0' - 10) * ones
)

// parseDigits returns the digits' values if all are digits, letters of the one case.
func parseDigits(text, ten uint64) (digits uint64, ok bool) {
	digits = text&(0x0f*ones) + text>>6&ones*9
	return digits, digits&(0xf0*ones) == 0 && digitsText(digits, ten) == text
}

// digitsText is the inverse.
func digitsText(digits, ten uint64) uint64 {
	return digits + '0'*ones + (digits+6*ones)>>4&ones*(ten&0xff)
}

// joinDigits puts two digits into each byte.
func joinDigits(digits uint64) uint32 {
	x := (digits<<4 | digits>>8) & 0x00ff00ff00ff00ff
	x = (x | x>>8) & 0x0000ffff0000ffff
	return uint32(x | x>>16)
}

// splitDigits is the inverse.
func splitDigits(b uint32) uint64 {
	x := (uint64(b) | uint64(b)<<16) & 0x0000ffff0000ffff
	x = (x | x<<8) & 0x00ff00ff00ff00ff
	return x>>4&(0x0f*ones) | x<<8&(0x0f00*0x0001000100010001)
}

// parseUUID puts the 16 bytes of a uuid in lower case into b; first are its first digits.
func parseUUID(b, s []byte, first uint64) bool {
	_, _ = b[15], s[uuidText-1]
	if s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return false
	}
	le := binary.LittleEndian
	second, ok2 := parseDigits(uint64(le.Uint32(s[9:]))|uint64(le.Uint32(s[14:]))<<32, lowerTen)
	third, ok3 := parseDigits(uint64(le.Uint32(s[19:]))|uint64(le.Uint32(s[24:]))<<32, lowerTen)
	fourth, ok4 := parseDigits(le.Uint64(s[28:]), lowerTen)
	if !ok2 || !ok3 || !ok4 {
		return false
	}
	le.PutUint32(b, joinDigits(first))
	le.PutUint32(b[4:], joinDigits(second))
	le.PutUint32(b[8:], joinDigits(third))
	le.PutUint32(b[12:], joinDigits(fourth))
	return true
}

// writeUUID is the inverse.
func writeUUID(dst, v []byte) {
	_, _ = dst[uuidText-1], v[15]
	le := binary.LittleEndian
	text := func(i int) uint64 { return digitsText(splitDigits(le.Uint32(v[i:])), lowerTen) }
	le.PutUint64(dst, text(0))
	second, third := text(4), text(8)
	le.PutUint32(dst[9:], uint32(second))
	le.PutUint32(dst[14:], uint32(second>>32))
	le.PutUint32(dst[19:], uint32(third))
	le.PutUint32(dst[24:], uint32(third>>32))
	le.PutUint64(dst[28:], text(12))
	dst[8], dst[13], dst[18], dst[23] = '-', '-', '-', '-'
}

// writeHex writes the two digits of each byte of v, of which there are 4 at least.
func writeHex(dst, v []byte, ten uint64) {
	le := binary.LittleEndian
	for len(v) > 4 {
		le.PutUint64(dst, digitsText(splitDigits(le.Uint32(v)), ten))
		n := min(4, len(v)-4) // the last word overlaps the one before
		dst, v = dst[2*n:], v[n:]
	}
	le.PutUint64(dst, digitsText(splitDigits(le.Uint32(v)), ten))
}
