package wire

import "encoding/binary"

// Classes of bytes, one bit each in classOf.
const (
	classToken  = 1 << iota // RFC 9110 5.6.2
	classValue              // all but CR, LF and NUL
	classTarget             // no control, no space
	classDigit
)

// maxName bounds a field's name.
const maxName = 255

var classOf = makeClasses()

func makeClasses() (t [256]uint8) {
	for c := range 256 {
		isDigit := c >= '0' && c <= '9'
		if isDigit || c|0x20 >= 'a' && c|0x20 <= 'z' {
			t[c] |= classToken
		}
		if isDigit {
			t[c] |= classDigit
		}
		if c != 0 && c != '\n' && c != '\r' {
			t[c] |= classValue
		}
		if c > ' ' && c != 0x7f {
			t[c] |= classTarget
		}
	}
	for _, c := range []byte("!#$%&'*+-.^_`|~") {
		t[c] |= classToken
	}
	return t
}

func isAll(p []byte, class uint8) bool {
	for _, c := range p {
		if classOf[c]&class == 0 {
			return false
		}
	}
	return true
}

// IsToken reports whether p may be a method, or, up to 255 bytes, a field's name.
func IsToken(p []byte) bool { return len(p) > 0 && isAll(p, classToken) }

// IsTarget reports whether p may be a request's target, as far as its bytes go.
func IsTarget(p []byte) bool { return len(p) > 0 && isAll(p, classTarget) }

// IsValue reports whether p may be a field's value; the empty one is.
func IsValue(p []byte) bool {
	if len(p) == 0 {
		return true
	}
	return !isBlank(p[0]) && !isBlank(p[len(p)-1]) && isReason(p)
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' }

// isReason is IsValue without the rule about both ends. Eight bytes at a time as long as none
// of them is below 0x0e, which only a tab may be.
func isReason(p []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for len(p) >= 8 {
		x := binary.LittleEndian.Uint64(p)
		if (x-0x0e*ones)&^x&tops != 0 {
			break
		}
		p = p[8:]
	}
	return isAll(p, classValue)
}

// equalFold reports whether p and q are equal but for the case of ASCII letters.
func equalFold(p, q []byte) bool {
	if len(p) != len(q) {
		return false
	}
	for i := range p {
		if lower(p[i]) != lower(q[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		c |= 0x20
	}
	return c
}
