package http1

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// isToken holds the bytes of tokens (RFC 9110 5.6.2).
var isToken = byteSet("!#$%&'*+-.^_`|~" + alnum)

// isHost holds the bytes of a reg-name (RFC 3986 3.2.2), unreserved and sub-delims, without percent
// encoding, which some decode and some do not.
var isHost = byteSet("-._~!$&'()*+,;=" + alnum)

const alnum = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func byteSet(s string) (set [256]bool) {
	for i := range len(s) {
		set[s[i]] = true
	}
	return set
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// isFold compares p, without regard to case, with a lower-case s of letters, digits and hyphens. Setting
// bit 5 turns nothing but capitals and control bytes into these, and p never holds the latter.
func isFold(p []byte, s string) bool {
	if len(p) != len(s) {
		return false
	}
	for i, c := range p {
		if c|0x20 != s[i] {
			return false
		}
	}
	return true
}

// tokenEnd is the index of the first byte from i on that cannot stand in a token, or len(p).
func tokenEnd(p []byte, i int) int {
	for i < len(p) && isToken[p[i]] {
		i++
	}
	return i
}

const (
	ones = 0x0101010101010101
	tops = 0x8080808080808080
)

// indexBelow is the index of the first byte from i on that is below n (at most 0x80) or DEL, or len(p).
// Eight bytes at a time: subtracting n borrows through a byte's top bit when it is smaller, and the
// lowest such bit is always a true one.
func indexBelow(p []byte, i int, n uint64) int {
	for i+8 <= len(p) {
		x := binary.LittleEndian.Uint64(p[i:])
		del := x ^ 0x7f*ones
		if m := ((x-n*ones)&^x | (del-ones)&^del) & tops; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for i < len(p) && uint64(p[i]) >= n && p[i] != 0x7f {
		i++
	}
	return i
}

// indexCtl is the index of the first control byte other than tab from i on, or len(p).
func indexCtl(p []byte, i int) int {
	for {
		i = indexBelow(p, i, 0x20)
		if i >= len(p) || p[i] != '\t' {
			return i
		}
		i++
	}
}

// equalFold compares two tokens without regard to case.
func equalFold(a, b []byte) bool {
	if len(a) != len(b) {
		return false
	}
	for i, c := range a {
		if c != b[i] && (c^b[i] != 0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// element cuts the first member off a comma-separated list, trimmed; it may be empty. The rest is nil
// when there is no more.
func element(list []byte) (first, rest []byte) {
	for k, c := range list { // short: a call would cost more
		if c == ',' {
			return trim(list[:k]), list[k+1:]
		}
	}
	return trim(list), nil
}

func trim(p []byte) []byte {
	for len(p) > 0 && isSpace(p[0]) {
		p = p[1:]
	}
	for len(p) > 0 && isSpace(p[len(p)-1]) {
		p = p[:len(p)-1]
	}
	return p
}

// mayEnd tells whether the bytes from i on hold the end of a head, or a line end that will be
// refused. The bytes before i hold neither.
func mayEnd(p []byte, i int) bool {
	for {
		k := bytes.IndexByte(p[i:], '\n')
		if k < 0 {
			return false
		}
		k += i
		if k < 2 || p[k-1] != '\r' || p[k-2] == '\n' {
			return true
		}
		i = k + 1
	}
}
