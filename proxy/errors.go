package proxy

import (
	"errors"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

var (
	// ErrTimeout says that an exchange ran out of time.
	ErrTimeout = errors.New("proxy: timeout")
	// ErrOverloaded says that a limit on exchanges or on queued bytes was reached.
	ErrOverloaded = errors.New("proxy: overloaded")
	// ErrDraining says that the destination, or this end, takes no new exchanges.
	ErrDraining = errors.New("proxy: draining")
	// ErrClosed says that the front or back was closed.
	ErrClosed = errors.New("proxy: closed")
	// ErrTooLarge says that a request or response is over a limit.
	ErrTooLarge = errors.New("proxy: message too large")
	// ErrUpstream says that the destination could not be reached or failed.
	ErrUpstream = errors.New("proxy: upstream failed")

	errLoop = errors.New("proxy: request has been here before")
)

// failure is why an exchange ended without a response.
type failure struct {
	code wire.Code
	// isNotStarted is set when no byte of the request reached an upstream, or,
	// towards a peer, none was sent or the peer said so.
	isNotStarted bool
	after        uint32 // seconds until a repetition makes sense, 0 unknown
	err          error  // for logs and the Go API; may be nil
	isLate       bool   // it waited in a lobby, in vain
	isSilent     bool   // FirstByteTimeout was over
	isMoved      bool   // it only waited on a connection, behind another: it says nothing of the destination
	isPeers      bool   // the peer said so, and has repeated what may be repeated
}

// isRefused reports whether a connection was refused, or a destination of this end's leaves: nothing was lost but the asking.
func (f *failure) isRefused() bool {
	return (f.code == wire.CodeUnreachable || f.code == wire.CodeDraining) && f.isNotStarted && !f.isPeers && !f.isLate
}

// statusOf is the one place that makes a client's status of a failure. The
// second result is the token for logs and metrics.
func statusOf(f failure) (status int, token string) {
	switch f.code {
	case wire.CodeTimeout:
		return 504, "timeout"
	case wire.CodeOverload:
		return 503, "overload"
	case wire.CodeDraining:
		return 503, "draining"
	case wire.CodeRequestTooLarge:
		return 413, "request-too-large"
	case wire.CodeFieldsTooLarge:
		return 431, "fields-too-large"
	case wire.CodeLoop:
		return 508, "loop"
	case wire.CodeUnreachable:
		return 502, "unreachable"
	case wire.CodeResponseTooLarge:
		return 502, "response-too-large"
	case wire.CodeUpstream:
		return 502, "upstream"
	}
	return 502, "internal"
}

// retryAfter returns the seconds for a 503's Retry-After.
func (f failure) retryAfter() uint32 { return max(1, f.after) }

// failureError is a failure as the Go API returns it: one of the errors above,
// and the reason.
type failureError struct {
	failure
	base error
}

func (e *failureError) Error() string {
	if e.err == nil || e.err == e.base {
		return e.base.Error()
	}
	return e.base.Error() + ": " + e.err.Error()
}

func (e *failureError) Unwrap() []error {
	if e.err == nil {
		return []error{e.base}
	}
	return []error{e.base, e.err}
}

// asError gives the Go API its error.
func (f failure) asError() error {
	base := ErrUpstream
	switch f.code {
	case wire.CodeTimeout:
		base = ErrTimeout
	case wire.CodeOverload:
		base = ErrOverloaded
	case wire.CodeDraining:
		base = ErrDraining
	case wire.CodeRequestTooLarge, wire.CodeResponseTooLarge, wire.CodeFieldsTooLarge:
		base = ErrTooLarge
	case wire.CodeLoop:
		base = errLoop
	}
	return &failureError{failure: f, base: base}
}
