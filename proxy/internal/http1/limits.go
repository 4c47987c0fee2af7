package http1

// What the limits are when they are zero.
const (
	DefaultLine   = 16 << 10 // a target, as PROTOCOL.md section 7
	DefaultHead   = 64 << 10
	DefaultFields = 256 // as PROTOCOL.md section 7
)

const (
	maxMethod  = 64      // the longest registered has 17 bytes
	maxName    = 255     // of a field: what a record can carry
	maxNamed   = 32      // fields that Connection names; each is compared with each field
	maxLeading = 8       // bytes of empty lines before a request line (RFC 9112 2.2)
	maxExt     = 1 << 10 // bytes of extensions of one chunk
	extCredit  = 16 << 10
)

// Limits bound what a message may cost before it is refused.
type Limits struct {
	// Line bounds the request target in bytes; over it: 414. If zero or negative, 16 KiB is used.
	Line int
	// Head bounds a head, and a trailer section, in bytes; over it: 431. If zero or negative,
	// 64 KiB is used.
	Head int
	// Fields bounds the number of field lines; over it: 431. If zero or negative, 256 is used.
	Fields int
}

func (l Limits) withDefaults() Limits {
	if l.Line <= 0 {
		l.Line = DefaultLine
	}
	if l.Head <= 0 {
		l.Head = DefaultHead
	}
	if l.Fields <= 0 {
		l.Fields = DefaultFields
	}
	return l
}
