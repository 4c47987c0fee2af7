package compress

import "sync"

// The packed form of PROTOCOL section 5: values that no codec makes smaller stand beside the block as
// binary, and in the block two bytes or three, which are the same for each of a kind, so that the codec
// finds longer matches around them.

// mark begins a packed value in a block: no UTF-8 holds it.
const mark = 0xc1

// What follows the mark. Of hex and base64url it is the length as well.
const (
	opMark = 0x00 // the byte of the mark itself
	opUUID = 0x01 // 16 bytes
	opTime = 0x02 // 4 bytes
	opNear = 0x03 // a value remembered: how many since, in 1 byte
	opSlot = 0x04 // a value remembered: its slot, in 2 bytes

	opNumber = 0x05 // a length of LEB128
	opRandom = 0x06 // a UUID of version 4: 15 bytes, and 2 bits of a byte that four of them share
	opZeros  = 0x70 // and the number of digits: opNumber that begins with zeros

	opHex       = 0x0c // and the number of bytes: lower case
	opUpperHex  = 0x2c // and the number of bytes: upper case
	opBase64URL = 0x40 // and the number of characters
)

const (
	minHex, maxHex       = 4, 32  // bytes; longer runs are several values
	minBase64, maxBase64 = 16, 44 // characters
	minRemembered        = 8      // bytes; of less a reference saves nothing
	maxValue             = 33     // bytes of the longest

	minDigits, maxDigits = 2, 9 // of a number

	uuidText = 36
	timeText = 19 // 2026-01-02T15:04:05

	// slots is how many values are remembered: as many as texts of a usual
	// window would hold, in a fraction of its memory.
	slots = 1024
)

const (
	// maxMarks is how many bytes of a block there are at least for each that is a mark by chance:
	// with more of them it is not packed, so that a packed block is never much longer.
	maxMarks = 64
	// maxGrowth bounds likewise by how much numbers, which may take 3 bytes for 2, make it longer.
	maxGrowth = 16
	// maxUnpacked is how often longer than a packed block its bytes may be: 64 for 2.
	maxUnpacked = 32
)

var markBytes = []byte{mark}

// packBuf is where a block is packed or unpacked.
type packBuf struct{ text, vals []byte }

// keepPackBuf is the largest of which the memory is kept for another use.
const keepPackBuf = 256 << 10

var packBufs = sync.Pool{New: func() any { return new(packBuf) }}

func (b *packBuf) release() {
	if cap(b.text)+cap(b.vals) <= keepPackBuf {
		packBufs.Put(b)
	}
}

// cutLength cuts a number in LEB128, as few bytes as possible, of at most 5 of them and 31 bits.
func cutLength(src []byte, most int) (n int, rest []byte, err error) {
	for i, c := range src[:min(len(src), most)] {
		n |= int(c&0x7f) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 || c > 7 && i == 4 {
				break
			}
			return n, src[i+1:], nil
		}
	}
	return 0, nil, errPacked
}

// packCost is what a context holds at most for packing: the slots, and in an encoder their index.
const packCost = 44 << 10

// value is one that is remembered.
type value struct {
	op, n uint8
	b     [maxValue]byte
}

func (v *value) bytes() []byte { return v.b[:v.n] }

// values are the last that were remembered, the same at both ends: a ring.
type values struct {
	isLight bool    // immutable: none are, as snappy's contexts take no memory
	ring    []value // nil until there is one
	next    int     // the slot that the next one takes
}

// remembers reports whether a value of so many bytes is remembered.
func (r *values) remembers(size int) bool { return size >= minRemembered && !r.isLight }

func (r *values) remember(op byte, b []byte) {
	if r.ring == nil {
		r.ring = make([]value, slots)
	}
	v := &r.ring[r.next]
	v.op, v.n = op, uint8(len(b))
	copy(v.b[:], b)
	r.next = (r.next + 1) % slots
}

// reset forgets all. The memory stays, as that of the codec's context does.
func (r *values) reset() {
	clear(r.ring)
	r.next = 0
}

// form is the size of an op's text and of its value; both 0 for what is no value.
type form struct{ text, size uint8 }

var forms = makeForms()

func makeForms() (t [256]form) {
	t[opUUID], t[opTime] = form{uuidText, 16}, form{timeText, 4}
	for n := uint8(minHex); n <= maxHex; n++ {
		t[opHex+n], t[opUpperHex+n] = form{2 * n, n}, form{2 * n, n}
	}
	for n := uint8(minBase64); n <= maxBase64; n++ {
		t[opBase64URL+n] = form{n, n/4*3 + n%4}
	}
	return t
}

// Classes of characters: those of values have one, and no others.
const (
	isDigit = 1 << iota
	isLowerHex
	isUpperHex
	isLower // g to z
	isUpper // G to Z
	isJoint // - and _
)

const (
	lowerHex = isDigit | isLowerHex
	upperHex = isDigit | isUpperHex
	anyLower = isLowerHex | isLower
	anyUpper = isUpperHex | isUpper
)

const base64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

var (
	classes   = makeClasses()
	hexDigits = makeIndex("0123456789abcdef", "0123456789ABCDEF")
	base64s   = makeIndex(base64URL)
)

func makeClasses() (t [256]uint8) {
	for c := '0'; c <= '9'; c++ {
		t[c] = isDigit
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-0x20] = isLower, isUpper
		if c <= 'f' {
			t[c], t[c-0x20] = isLowerHex, isUpperHex
		}
	}
	t['-'], t['_'] = isJoint, isJoint
	return t
}

// makeIndex is the inverse of alphabets.
func makeIndex(alphabets ...string) (t [256]uint8) {
	for _, a := range alphabets {
		for i := range a {
			t[a[i]] = uint8(i)
		}
	}
	return t
}
