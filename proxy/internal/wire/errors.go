package wire

import "strconv"

// Code says why an exchange failed or was not started (section 8).
type Code uint32

const (
	CodeUnreachable      Code = 1 // no connection to an upstream
	CodeUpstream         Code = 2 // the upstream failed, or spoke no HTTP
	CodeTimeout          Code = 3
	CodeOverload         Code = 4
	CodeDraining         Code = 5
	CodeRequestTooLarge  Code = 6
	CodeResponseTooLarge Code = 7
	CodeLoop             Code = 8
	CodeInternal         Code = 9 // and every code unknown to the receiver
	CodeFieldsTooLarge   Code = 10
)

var codeNames = [...]string{
	CodeUnreachable: "unreachable", CodeUpstream: "upstream", CodeTimeout: "timeout",
	CodeOverload: "overload", CodeDraining: "draining", CodeRequestTooLarge: "request-too-large",
	CodeResponseTooLarge: "response-too-large", CodeLoop: "loop", CodeInternal: "internal",
	CodeFieldsTooLarge: "fields-too-large",
}

// String returns a token fit for metrics, stable from release to release.
func (c Code) String() string {
	if !c.isKnown() {
		return "code-" + strconv.FormatUint(uint64(c), 10)
	}
	return codeNames[c]
}

func (c Code) isKnown() bool { return c >= CodeUnreachable && c <= CodeFieldsTooLarge }

// Over names the limit of section 7 that a well-formed record exceeds. The record is refused, the
// stream lives on.
type Over uint8

const (
	OverNone   Over = iota
	OverFields      // too many fields, or too many bytes of them: 431
	OverTarget      // 414
)

func (o Over) String() string {
	switch o {
	case OverNone:
		return "none"
	case OverFields:
		return "fields"
	case OverTarget:
		return "target"
	}
	return "over-" + strconv.Itoa(int(o))
}

// ResetCode is the HTTP/2 error code (RFC 9113 7) with which a stream error resets the stream.
type ResetCode uint32

const (
	ResetProtocol ResetCode = 1  // PROTOCOL_ERROR
	ResetCalm     ResetCode = 11 // ENHANCE_YOUR_CALM: over a limit
)

func (c ResetCode) String() string {
	switch c {
	case ResetProtocol:
		return "protocol"
	case ResetCalm:
		return "calm"
	}
	return "reset-" + strconv.FormatUint(uint64(c), 10)
}

// Error is a stream error (section 8): what the peer sent cannot be taken, and nothing after it on
// this stream can be either.
type Error struct {
	Code   ResetCode
	Offset int // in the batch's decoded shared section, or in its header
	Msg    string
}

func (e *Error) Error() string {
	return "wire: " + e.Msg + " (" + e.Code.String() + ", offset " + strconv.Itoa(e.Offset) + ")"
}
