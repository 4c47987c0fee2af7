package wire

import (
	"strconv"
	"time"
)

// Type is a record's type (section 4).
type Type uint8

const (
	TypeRequest         Type = 0x01
	TypeResponse        Type = 0x02
	TypeCancel          Type = 0x03
	TypeFailed          Type = 0x04
	TypeNotStarted      Type = 0x05
	TypeDrain           Type = 0x06
	TypePing            Type = 0x07
	TypePong            Type = 0x08
	TypeBodyOnStream    Type = 0x09
	TypeOpenForExchange Type = 0x0a
	TypeData            Type = 0x0b
	TypeEnd             Type = 0x0c
	TypeRelease         Type = 0x0d

	TypeHealth Type = 0x41

	// Other types of this range are skipped by their length, so that a later version can add hints.
	firstReserved Type = 0x40
	lastReserved  Type = 0x7f
)

var typeNames = [...]string{
	TypeRequest: "request", TypeResponse: "response", TypeCancel: "cancel", TypeFailed: "failed",
	TypeNotStarted: "not-started", TypeDrain: "drain", TypePing: "ping", TypePong: "pong",
	TypeBodyOnStream: "body-on-stream", TypeOpenForExchange: "open-for-exchange", TypeData: "data",
	TypeEnd: "end", TypeRelease: "release",
}

// String returns the name of section 4.
func (t Type) String() string {
	switch {
	case t >= TypeRequest && t <= TypeRelease:
		return typeNames[t]
	case t == TypeHealth:
		return "health"
	}
	return "type-0x" + strconv.FormatUint(uint64(t), 16)
}

// Body tells where a message's body is.
type Body uint8

const (
	BodyNone    Body = iota
	BodyWhole        // in the record
	BodyFollows      // in data records, ended by an end record; on some stream of its own
)

// The body bits of a record's flags, and the others.
const (
	bodyShared   = 1
	bodyRaw      = 2
	bodyFollows  = 3
	bodyMask     = 3
	flagTrailers = 0x04
	flagReason   = 0x08
)

// Field is one field of a message. Names keep their case; values are bytes.
type Field struct {
	Name, Value []byte

	// Secret keeps the value away from the codec: it goes into the raw section. The encoder treats a
	// field so as well if its name says so. The decoder sets it for what came that way, also
	// through the dictionary; who forwards the field must pass it on.
	Secret bool
}

// Request is what a request record carries.
type Request struct {
	Method    []byte
	Target    []byte
	Authority []byte // empty when the client named none
	// Fields holds at most one Content-Length, of digits; with BodyWhole its value is not looked
	// at, for the length of Body is.
	Fields   []Field
	BodyKind Body
	Body     []byte  // with BodyWhole
	RawBody  bool    // Body is in the raw section, because it is compressed already
	Trailers []Field // with BodyWhole; no Content-Length among them

	// TimeLeft is the time the exchange has left, 0 if unbounded. It crosses in whole milliseconds,
	// rounded up, so that a bound never becomes none.
	TimeLeft time.Duration
}

// Response is what a response record carries, and body-on-stream and open-for-exchange records, whose
// body always follows elsewhere.
type Response struct {
	Status   int     // 100 to 999; with 1xx other than 101 BodyKind is BodyNone
	Reason   []byte  // nil: the standard phrase
	Fields   []Field // as in a Request
	BodyKind Body
	Body     []byte
	RawBody  bool
	Trailers []Field
	Stream   uint32 // the ready stream that carries the body; of TypeBodyOnStream only
}

// Record is one record as a [Decoder] gives it. Type says which of its fields have a meaning; the
// others hold what an earlier record left.
type Record struct {
	Type Type
	// ID is the exchange: its request's number on the stream for TypeRequest, the one named by the
	// record for the other types that name one.
	ID uint32
	// Over is not OverNone if the record is to be refused; what it holds is then incomplete.
	Over Over

	Request  Request  // TypeRequest
	Response Response // TypeResponse, TypeBodyOnStream, TypeOpenForExchange
	Code     Code     // TypeFailed, TypeNotStarted; unknown codes have become CodeInternal
	Text     []byte   // TypeFailed: for logs, never for clients
	After    uint32   // TypeNotStarted: seconds before a repetition makes sense
	Ping     [8]byte  // TypePing, TypePong
	Stream   uint32   // TypeRelease
	Share    uint32   // TypeHealth: thousandths
	Data     []byte   // TypeData
	DataRaw  bool     // TypeData: it came in the raw section
	Trailers []Field  // TypeEnd
}

// Bound returns at least as many bytes as the record takes in both sections of a batch, so
// that a limit can be checked before the dictionary changes.
func (r *Request) Bound() int {
	return 64 + len(r.Method) + len(r.Target) + len(r.Authority) + len(r.Body) +
		boundFields(r.Fields) + boundFields(r.Trailers)
}

// Bound is to a Response what it is to a [Request].
func (r *Response) Bound() int {
	return 64 + len(r.Reason) + len(r.Body) + boundFields(r.Fields) + boundFields(r.Trailers)
}

func boundFields(fields []Field) int {
	n := 0
	for i := range fields {
		n += 3*maxVarint + len(fields[i].Name) + len(fields[i].Value)
	}
	return n
}
