package wire

// maxVarint is the length of the longest v: 32 bits, 7 in a byte.
const maxVarint = 5

func appendVarint(p []byte, v uint32) []byte {
	for v >= 0x80 {
		p = append(p, byte(v)|0x80)
		v >>= 7
	}
	return append(p, byte(v))
}

func varintSize(v uint32) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// parseVarint returns the v at the start of p and its length, which is 0 if p holds none: cut short,
// more than 32 bits, or longer than it need be (two forms of one number would make what is
// compared as bytes and what is compared as values differ).
func parseVarint(p []byte) (v uint32, n int) {
	for i := 0; i < len(p) && i < maxVarint; i++ {
		c := p[i]
		if i == maxVarint-1 && c > 0x0f || i > 0 && c == 0 {
			return 0, 0
		}
		v |= uint32(c&0x7f) << (7 * i)
		if c < 0x80 {
			return v, i + 1
		}
	}
	return 0, 0
}

func zigzag(v int32) uint32   { return uint32(v<<1) ^ uint32(v>>31) }
func unzigzag(v uint32) int32 { return int32(v>>1) ^ -int32(v&1) }
