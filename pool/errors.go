package pool

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/net/http2"
)

var (
	// ErrClosed says that this end closed the client, server, connection or stream. It
	// is a net.ErrClosed.
	ErrClosed = fmt.Errorf("pool: closed: %w", net.ErrClosed)
	// ErrPingTimeout says that a peer was silent for PingTimeout after a PING had come
	// there, or that nothing went to it for as long.
	ErrPingTimeout = errors.New("pool: peer does not answer")
	// ErrNotStarted says that the peer did not process the stream: whatever it was to
	// do can be done again, elsewhere or later. ErrGoAway is one, and so is a
	// [*ResetError] of the peer's with REFUSED_STREAM.
	ErrNotStarted = errors.New("pool: not started")
	// ErrGoAway says that the peer is draining the connection, or with a [*ConnError]
	// in it that it found an error there, and did not process the stream.
	ErrGoAway = fmt.Errorf("%w: peer is going away", ErrNotStarted)
	// errDrained is ErrClosed of a connection that this end has drained.
	errDrained error = drainError{}
	// ErrNotReady says that no ready stream has the id, nor can come to have it.
	ErrNotReady = errors.New("pool: no such ready stream")
	// ErrTaken says that the ready stream with the id was taken, or is waited for.
	ErrTaken = errors.New("pool: ready stream is taken")
	// ErrExhausted says that there are as many ready streams as there may be.
	ErrExhausted = errors.New("pool: too many ready streams")
)

type drainError struct{}

func (drainError) Error() string        { return "pool: drained by this end" }
func (drainError) Is(target error) bool { return target == ErrClosed || target == net.ErrClosed }

// Code is an HTTP/2 error code, RFC 9113 section 7.
type Code = http2.ErrCode

// ResetError is the peer's RST_STREAM on a stream, or this end's own.
type ResetError struct {
	Code Code
	// Local is set when this end reset the stream.
	Local bool
}

func (e *ResetError) Error() string {
	who := "peer"
	if e.Local {
		who = "this end"
	}
	return fmt.Sprintf("pool: stream reset by %s: %v", who, e.Code)
}

// Is makes a stream that the peer refused an ErrNotStarted, RFC 9113 8.7.
func (e *ResetError) Is(target error) bool {
	return target == ErrNotStarted && !e.Local && e.Code == http2.ErrCodeRefusedStream
}

// ConnError is the peer's violation of HTTP/2 that closed the connection, as
// this end found it, or the peer's GOAWAY when Peer is set.
type ConnError struct {
	Code   Code
	Reason string
	Peer   bool
}

func (e *ConnError) Error() string {
	if e.Peer {
		return fmt.Sprintf("pool: peer closed the connection: %v", e.Code)
	}
	return fmt.Sprintf("pool: connection error: %v: %s", e.Code, e.Reason)
}

// StatusError is a response that refused a stream.
type StatusError struct {
	Status int
	Header Header
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("pool: stream refused: status %d", e.Status)
}
