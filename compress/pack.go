package compress

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// packer is the sending end's side of packing.
type packer struct {
	values
	index *[indexSize]uint16 // slot + 1 by the hash of a value
	seen  *[seenSize]uint16  // what number came last, by the hash of what stood before it

	src       []byte // what is packed
	from      int    // where the text begins that was not written yet
	out, vals []byte
	hasMarks  bool // in src
	count     int  // of values found
	randoms   int  // UUIDs of version 4 among them
	shared    int  // where in vals the byte is that the last four share
}

const (
	indexSize = 2 * slots
	seenSize  = 1024
	// minRun is the shortest run of characters in which there may be a value: 8 digits of hex.
	minRun = 2 * minHex
)

// pack appends the packed form of src to out and vals. Every value has a digit, so that is what is
// looked for first, and then the run of characters that values have.
func (p *packer) pack(out, vals, src []byte, hasMarks bool) ([]byte, []byte) {
	p.src, p.out, p.vals, p.from, p.hasMarks, p.count, p.randoms = src, out, vals, 0, hasMarks, 0, 0
	for i := nextDigit(src, 0); i < len(src); i = nextDigit(src, i) {
		start, end, seen := i, i, uint8(0)
		for start > p.from && classes[src[start-1]] != 0 {
			start--
			seen |= classes[src[start]]
		}
		for ; end < len(src) && classes[src[end]] != 0; end++ {
			seen |= classes[src[end]]
		}
		if end-start >= minRun && seen&^(isDigit|isJoint) != 0 {
			p.run(start, end, seen)
		}
		p.numbers(max(i, p.from), end)
		i = max(end, p.from)
	}
	p.text(len(src))
	out, vals = p.out, p.vals
	p.src, p.out, p.vals = nil, nil, nil
	return out, vals
}

// run packs what values there are in src[i:end], which holds characters of the classes seen.
func (p *packer) run(i, end int, seen uint8) {
	var b [maxValue]byte
	if seen&(isUpper|isJoint) == isUpper|isJoint && end-i == len("2026-01-02T15") {
		if v, ok := parseTime(p.src[i:]); ok {
			p.emit(i, opTime, binary.BigEndian.AppendUint32(b[:0], v))
			return
		}
	}
	if n := end - i; n >= minBase64 && n <= maxBase64 && seen&anyLower != 0 && seen&anyUpper != 0 && isMixed(p.src[i:end]) {
		p.emit(i, opBase64URL+byte(n), appendFromBase64(b[:0], p.src[i:end]))
		return
	}
	switch {
	case seen&isLowerHex != 0:
		p.hex(i, end, lowerHex, lowerTen, opHex)
	case seen&isUpperHex != 0:
		p.hex(i, end, upperHex, upperTen, opUpperHex)
	}
}

// numbers packs the numbers in src[i:end] that are not what stood there the last time: those the codec
// finds with what is around them.
func (p *packer) numbers(i, end int) {
	for j := i; i < end; i = j {
		if j++; classes[p.src[i]] != isDigit {
			continue
		}
		n := uint32(p.src[i] - '0')
		for ; j < end && classes[p.src[j]] == isDigit; j++ {
			n = 10*n + uint32(p.src[j]-'0')
		}
		digits := j - i
		if digits < minDigits || digits > maxDigits || p.isExpected(i, n) || len(p.out)+len(p.vals) > p.from+p.from/maxGrowth+maxGrowth {
			continue
		}
		p.text(i)
		p.from = j
		p.count++
		op := byte(opNumber)
		if p.src[i] == '0' {
			op = opZeros + byte(digits)
		}
		p.out = append(p.out, mark, op)
		p.vals = binary.AppendUvarint(p.vals, uint64(n))
	}
}

// isExpected reports whether n, at i, follows what it followed the last time, and remembers it.
func (p *packer) isExpected(i int, n uint32) bool {
	if i < 8 {
		return true
	}
	if p.seen == nil {
		p.seen = new([seenSize]uint16)
	}
	const before = 5 // bytes
	h := binary.LittleEndian.Uint64(p.src[i-8:]) >> (64 - 8*before) * 0x9e3779b97f4a7c15 >> (64 - 10)
	was, is := p.seen[h], uint16(n*0x9e3779b1>>16)|1 // never what nothing was
	p.seen[h] = is
	return was == is
}

// nextDigit returns where the first digit is from i on, or the end.
func nextDigit(src []byte, i int) int {
	for ; i+8 <= len(src); i += 8 {
		x := binary.LittleEndian.Uint64(src[i:]) ^ '0'*ones
		if x = ^((x&(0x7f*ones) + 0x76*ones) | x) & (0x80 * ones); x != 0 { // the bytes that were '0' to '9'
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < len(src) && classes[src[i]] != isDigit {
		i++
	}
	return i
}

// hex packs the uuids and the runs of hex digits in src[i:end], whose letters are of the case of ten.
func (p *packer) hex(i, end int, class uint8, ten uint64, op byte) {
	var b [maxValue]byte
	for i+minRun <= end {
		digits, ok := parseDigits(binary.LittleEndian.Uint64(p.src[i:]), ten)
		if !ok {
			k := i + minRun - 1
			for classes[p.src[k]]&class != 0 {
				k--
			}
			i = k + 1
			continue
		}
		if op == opHex && end-i >= uuidText && parseUUID(b[:], p.src[i:i+uuidText], digits) {
			p.emit(i, opUUID, b[:16])
			i += uuidText
			continue
		}
		binary.LittleEndian.PutUint32(b[:], joinDigits(digits))
		n, j, seen := minHex, i+minRun, classes[p.src[i]]
		for k := i + 1; k < j; k++ {
			seen |= classes[p.src[k]]
		}
		for ; n < maxHex && j+1 < end && classes[p.src[j]]&class != 0 && classes[p.src[j+1]]&class != 0; n, j = n+1, j+2 {
			seen |= classes[p.src[j]] | classes[p.src[j+1]]
			b[n] = hexDigits[p.src[j]]<<4 | hexDigits[p.src[j+1]]
		}
		if seen == class { // neither a number nor a word
			p.emit(i, op+byte(n), b[:n])
		}
		i = j
	}
}

// text writes what stands before the value at i as it is.
func (p *packer) text(i int) {
	s := p.src[p.from:i]
	p.from = i
	for p.hasMarks {
		k := bytes.IndexByte(s, mark)
		if k < 0 {
			break
		}
		p.out = append(append(p.out, s[:k+1]...), opMark)
		s = s[k+1:]
	}
	p.out = append(p.out, s...)
}

// emit writes a value whose text begins at i, or a reference to it.
func (p *packer) emit(i int, op byte, v []byte) {
	p.text(i)
	p.from += int(forms[op].text)
	p.count++
	if p.remembers(len(v)) {
		if p.index == nil {
			p.index = new([indexSize]uint16)
		}
		h := (binary.LittleEndian.Uint64(v) + uint64(op)) * 0x9e3779b97f4a7c15 >> (64 - 11)
		if slot := int(p.index[h]) - 1; slot >= 0 && p.ring[slot].op == op && bytes.Equal(p.ring[slot].bytes(), v) {
			if since := (p.next - 1 - slot + slots) % slots; since < 256 {
				p.out = append(p.out, mark, opNear, byte(since))
			} else {
				p.out = append(p.out, mark, opSlot, byte(slot>>8), byte(slot))
			}
			return
		}
		p.index[h] = uint16(p.next + 1)
		p.remember(op, v)
	}
	if op == opUUID && v[6]>>4 == 4 && v[8]>>6 == 2 {
		p.random(v)
		return
	}
	p.out = append(p.out, mark, op)
	p.vals = append(p.vals, v...)
}

// random writes a UUID of which the version's four bits and the variant's two are known.
func (p *packer) random(v []byte) {
	if p.randoms%4 == 0 {
		p.shared = len(p.vals)
		p.vals = append(p.vals, 0)
	}
	p.vals[p.shared] |= v[8] & 3 << (2 * (p.randoms % 4))
	p.randoms++
	p.out = append(p.out, mark, opRandom)
	p.vals = append(append(append(p.vals, v[:6]...), v[6]<<4|v[8]>>2&15, v[7]), v[9:16]...)
}

// isMixed tells random characters from words: from one to the next they change between lower case,
// upper case and digits two times in three, words and names seldom.
func isMixed(s []byte) bool {
	changes, last := 0, uint8(0)
	for _, c := range s {
		class := classes[c]
		switch {
		case class&anyLower != 0:
			class = anyLower
		case class&anyUpper != 0:
			class = anyUpper
		}
		if class != last {
			changes++
		}
		last = class
	}
	return 2*changes >= len(s)
}

// appendFromBase64 appends 6 bits for each character, then zeros up to the end of a byte.
func appendFromBase64(dst, s []byte) []byte {
	for ; len(s) >= 4; s = s[4:] {
		v := uint32(base64s[s[0]])<<18 | uint32(base64s[s[1]])<<12 | uint32(base64s[s[2]])<<6 | uint32(base64s[s[3]])
		dst = append(dst, byte(v>>16), byte(v>>8), byte(v))
	}
	v := uint32(0)
	for i := range 3 {
		v <<= 6
		if i < len(s) {
			v |= uint32(base64s[s[i]])
		}
	}
	return append(dst, []byte{byte(v >> 10), byte(v >> 2), byte(v << 6)}[:len(s)]...)
}

// parseTime reads 2026-01-02T15:04:05 at the start of s, of the years 1970 to 2102, as the seconds since,
// were all months of 31 days.
func parseTime(s []byte) (uint32, bool) {
	const form = "0000-00-00T00:00:00"
	if len(s) < timeText {
		return 0, false
	}
	var n [6]uint32
	part := 0
	for i := range form {
		switch c := s[i]; {
		case form[i] != '0':
			if c != form[i] {
				return 0, false
			}
			part++
		case c < '0' || c > '9':
			return 0, false
		default:
			n[part] = 10*n[part] + uint32(c-'0')
		}
	}
	if n[0] < 1970 || n[0] > 2102 || n[1]-1 > 11 || n[2]-1 > 30 || n[3] > 23 || n[4] > 59 || n[5] > 59 {
		return 0, false
	}
	return ((((n[0]-1970)*12+n[1]-1)*31+n[2]-1)*24+n[3])*3600 + n[4]*60 + n[5], true
}
