package pool

import "time"

// Trace holds functions that are called as connections and streams come and go,
// in the manner of net/http/httptrace. Those that are nil are skipped. They are
// called without a lock held, by the goroutine to which it happens, often a
// connection's reading one: they must not block, and may be called concurrently.
type Trace struct {
	// Dialing is called by a client before each dial.
	Dialing func(addr string)
	// Connected is called when a dial is over, TLS and prefaces included, or a
	// server's TLS handshake: with how long it took, and why it failed.
	Connected func(addr string, took time.Duration, err error)
	// Disconnected is called when a connection that Connected told of is over: with
	// [ErrGoAway] when the peer has drained it, and an [ErrClosed] when this end has, or
	// closed it.
	Disconnected func(addr string, err error)
	// Opened is called when a stream's opening header section is queued by a client
	// or accepted by a server. The connection is reused when it is not its first.
	Opened func(s *Stream, isReused bool)
	// Taken is called when a ready stream, which has that id, was taken by a client's
	// Take or acquired by a server; by its caller.
	Taken func(s *Stream, id uint32)
	// Reset is called when either end resets a stream.
	Reset func(s *Stream, err *ResetError)
	// Closed is called once for each stream that Opened told of, when it is over in
	// both directions: with io.EOF when both ends ended theirs, else with the cause.
	Closed func(s *Stream, err error)
}

func (t *Trace) dialing(addr string) {
	if t != nil && t.Dialing != nil {
		t.Dialing(addr)
	}
}

func (t *Trace) connected(addr string, began time.Time, err error) {
	if t != nil && t.Connected != nil {
		t.Connected(addr, time.Since(began), err)
	}
}

func (t *Trace) disconnected(addr string, err error) {
	if t != nil && t.Disconnected != nil {
		t.Disconnected(addr, err)
	}
}

func (t *Trace) opened(s *Stream) {
	if t != nil && t.Opened != nil {
		t.Opened(s, s.id > 1)
	}
}

func (t *Trace) taken(s *Stream, id uint32) {
	if t != nil && t.Taken != nil {
		t.Taken(s, id)
	}
}

func (t *Trace) reset(s *Stream, code Code, isLocal bool) {
	if t != nil && t.Reset != nil {
		t.Reset(s, &ResetError{Code: code, Local: isLocal})
	}
}

func (t *Trace) closed(s *Stream, err error) {
	if t != nil && t.Closed != nil {
		t.Closed(s, err)
	}
}
