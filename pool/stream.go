package pool

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

// Receiver takes what a peer sends on a stream as it arrives.
type Receiver interface {
	// Receive is called by the connection's reading goroutine with the payload
	// of each DATA frame where it lies: it must not block, nor keep p. An error
	// resets the stream, with the code of a [*ResetError] or PROTOCOL_ERROR.
	Receive(p []byte) error
	// Closed is called once, after the last Receive: with io.EOF when the peer
	// ended its side (this end's may go on), else with the reason of the
	// stream's or connection's end. No lock is held; any goroutine may call it.
	Closed(err error)
}

// Opener is a [Receiver] of a client's stream that wants the answer first.
type Opener interface {
	Receiver
	// Opened is called by the reading goroutine with the response's header
	// section when its status is 200, before the first Receive and before Open
	// returns. It must not block; an error resets the stream and is Open's.
	Opened(s *Stream) error
}

// Stream is one HTTP/2 stream and a net.Conn. Its methods may be called
// concurrently; concurrent Writes do not interleave within a frame only.
type Stream struct {
	// Immutable.
	c    *conn
	id   uint32
	turn sync.Mutex // whose Write fills unsent; taken before c.mu

	came atomic.Int64 // when bytes of DATA came last, since the connection's start

	header    Header // the peer's; set before hasHeader and before Open returns
	hasHeader bool   // set by readLoop, under c.mu

	// Guarded by c.mu. What only some streams need is made when they do.
	headerc    chan struct{} // client, within Open: closed at the header section or the end
	donec      chan struct{} // for Done: closed at the end
	sendc      chan struct{} // wakes a Write that waits, capacity 1
	recvc      chan struct{} // wakes a Read that waits, capacity 1
	readers    int32         // that wait
	writers    int32
	dl         *deadlines
	stall      time.Duration // SetWriteTimeout's
	receiver   Receiver      // set before the first DATA frame can arrive
	err        error         // why it is over; io.EOF when both sides ended
	isTold     bool          // receiver.Closed was or is being called
	over       func()        // called once it is over, without the lock
	isSendEnd  bool
	isRecvEnd  bool
	isAnswered bool   // server: a header section was sent
	text       string // of a refusal: what waits for the window
	isRefused  bool   // and answered in full: what comes is dropped
	sendWindow int64
	unsent     []byte // what a Write of a bulk stream waits to send
	isQueued   bool   // it stands in c.bulk
	window     int64  // the receive window's size
	recvWindow int64
	recvDue    int64
	buf        recvBuffer // received and not yet read, without a receiver
	consumed   int64      // since the window was last looked at
	withheld   int64      // credit that will not be returned: the window shrinks
	resized    time.Duration
	hasWaited  bool          // a Read waited for the peer since then
	opened     time.Duration // server: when, since the connection's start
	isUsed     bool          // its owner read or wrote
	isReleased bool          // its owner is done with it
	isHeld     bool          // it is over, and counts in c.held
	isBlocked  bool          // in c.blocked
	gone       int64         // what Progress told last
}

func newStream(c *conn, id uint32, r Receiver) *Stream {
	s := &Stream{c: c, id: id, receiver: r, window: leastWindow, recvWindow: leastWindow}
	s.came.Store(int64(time.Since(c.start)))
	return s
}

// ID returns the HTTP/2 stream identifier.
func (s *Stream) ID() uint32 { return s.id }

// Header returns the peer's header section: the request's at a server, the
// response's at a client.
func (s *Stream) Header() *Header { return &s.header }

// Done is closed when the stream is over in both directions.
func (s *Stream) Done() <-chan struct{} {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.donec == nil {
		s.donec = make(chan struct{})
		if s.err != nil {
			close(s.donec)
		}
	}
	return s.donec
}

// Err returns why the stream is over, io.EOF when both sides ended it, and nil while it is not.
func (s *Stream) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// TLS returns the state of the connection's TLS, nil in the clear.
func (s *Stream) TLS() *tls.ConnectionState { return s.c.tlsState }

// LocalAddr returns the connection's local address.
func (s *Stream) LocalAddr() net.Addr { return s.c.nc.LocalAddr() }

// RemoteAddr returns the connection's remote address.
func (s *Stream) RemoteAddr() net.Addr { return s.c.nc.RemoteAddr() }

// onOver calls f when the stream is over, at once if it is; only one call may be
// outstanding. Any goroutine may call f, without locks of this package held.
func (s *Stream) onOver(f func()) {
	s.c.mu.Lock()
	isOver := s.err != nil
	if !isOver {
		s.over = f
	}
	s.c.mu.Unlock()
	if isOver {
		f()
	}
}

// cutErr returns why a stream is over, or nil when the peer had ended its side
// before: then all that it sent can be read.
func (s *Stream) cutErr() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.isRecvEnd {
		return nil
	}
	return s.err
}

// SetReceiver sets the receiver of an accepted stream; only within
// [ServerConfig.Accept].
func (s *Stream) SetReceiver(r Receiver) {
	s.c.mu.Lock()
	s.receiver = r
	s.c.mu.Unlock()
}

// Respond sends the response's header section; only the first call does. After a
// [*HeaderError] nothing was sent, and another call may be made. The status is a final one,
// 200 or more. It does not block.
func (s *Stream) Respond(status int, fields ...Field) error {
	return s.respond(Header{Status: status, Fields: fields}, "", false)
}

// Refuse answers a stream that will not be served, with a short text, and ends
// it. It does not block.
func (s *Stream) Refuse(status int, text string, fields ...Field) error {
	if s.header.Method == "HEAD" {
		text = ""
	}
	h := Header{Status: status, Fields: append([]Field{{Name: "content-type", Value: "text/plain; charset=utf-8"}}, fields...)}
	return s.respond(h, text, true)
}

func (s *Stream) respond(h Header, text string, end bool) error {
	if err := h.checkResponse(); err != nil {
		return err
	}
	c := s.c
	c.mu.Lock()
	if s.err != nil || s.isAnswered {
		err := s.err
		c.mu.Unlock()
		return err
	}
	if err := c.fitsLocked(&h); err != nil {
		c.mu.Unlock()
		return err
	}
	s.isAnswered = true
	c.hbuf.Reset()
	encodeHeader(c.henc, &h)
	c.out = appendHeaders(c.out, s.id, &c.hbuf, end && text == "", c.peerFrame)
	if end {
		s.isSendEnd = true
		s.text = text
		end = c.sendTextLocked(s)
	}
	c.kickLocked()
	c.mu.Unlock()
	if end {
		c.endStream(s, io.EOF)
	}
	return nil
}

// sendTextLocked sends what the stream's window takes of a refusal's text and
// reports whether the stream is so ended. What the connection's window does not
// take is cut: the status is what counts.
func (c *conn) sendTextLocked(s *Stream) bool {
	for s.text != "" && s.sendWindow > 0 {
		s.text = s.text[:min(int64(len(s.text)), max(0, c.sendWindow))]
		n := min(int64(len(s.text)), s.sendWindow, int64(c.peerFrame))
		p := s.text[:n]
		s.text = s.text[n:]
		c.out = appendData(c.out, s.id, []byte(p), s.text == "")
		s.sendWindow -= n
		c.sendWindow -= n
	}
	defer c.kickLocked()
	switch {
	case s.text != "":
		return false
	case s.isRecvEnd:
		return true
	case s.receiver == nil && !c.isDraining && c.refused < maxRefused:
		// The rest of a small request is awaited: there are clients that lose the
		// answer to a reset.
		s.isRefused = true
		c.refused++
		return false
	}
	c.out = appendReset(c.out, s.id, http2.ErrCodeNo) // RFC 9113 8.1: no more of the request
	return true
}

// wakeSenderLocked wakes one Write that waits, if one does; it wakes the next when
// what it finds concerns all.
func (s *Stream) wakeSenderLocked() {
	if s.writers > 0 {
		wake(s.sendc)
	}
}

// wakeReaderLocked is the same for Read.
func (s *Stream) wakeReaderLocked() {
	if s.readers > 0 {
		wake(s.recvc)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Read reads what arrived, waiting for the first byte; io.EOF after the peer
// ended its side. It must not be used on a stream with a Receiver.
func (s *Stream) Read(p []byte) (int, error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.isUsed = true
	for {
		n, err := s.readLocked(p)
		if n > 0 || err != nil || len(p) == 0 {
			s.wakeReaderLocked() // if there is another: for the rest, or the same error
			return n, err
		}
		s.hasWaited = true
		if s.recvc == nil {
			s.recvc = make(chan struct{}, 1)
		}
		s.readers++
		c.mu.Unlock()
		<-s.recvc
		c.mu.Lock()
		s.readers--
	}
}

func (s *Stream) readLocked(p []byte) (int, error) {
	if s.isReadOver() {
		return 0, os.ErrDeadlineExceeded
	}
	if n := s.buf.readTo(p); n > 0 {
		s.c.creditLocked(s, int64(n))
		if s.err != nil {
			s.c.forgetWindowLocked(s)
			if s.err == io.EOF && s.buf.size == 0 {
				s.releaseLocked()
			}
		}
		return n, nil
	}
	if s.isRecvEnd {
		return 0, io.EOF
	}
	return 0, s.err
}

// CloseWrite ends this end's side of the stream, after what was written.
func (s *Stream) CloseWrite() error {
	c := s.c
	c.mu.Lock()
	if s.err != nil || s.isSendEnd {
		s.releaseLocked()
		c.mu.Unlock()
		return nil
	}
	s.isSendEnd = true
	c.out = appendData(c.out, s.id, nil, true)
	c.kickLocked()
	isOver := s.isRecvEnd
	c.mu.Unlock()
	if isOver {
		c.endStream(s, io.EOF)
	}
	return nil
}

// Reset ends the stream in both directions with a code.
func (s *Stream) Reset(code Code) {
	s.c.mu.Lock()
	s.releaseLocked()
	s.c.mu.Unlock()
	s.reset(code, &ResetError{Code: code, Local: true})
}

func (s *Stream) reset(code Code, err error) {
	c := s.c
	c.mu.Lock()
	isReset := s.err == nil && c.err == nil
	if isReset && s.isRefused && code == http2.ErrCodeCancel {
		code = http2.ErrCodeNo // the answer counts
	}
	if isReset {
		c.out = appendReset(c.out, s.id, code)
		c.kickLocked()
	}
	c.mu.Unlock()
	if isReset {
		c.cfg.Trace.reset(s, code, true)
	}
	c.endStream(s, err)
}

// Close ends the stream: gracefully where the peer has ended its side, else by
// a reset, with CANCEL, or NO_ERROR where a server has answered (RFC 9113 8.1): an
// intermediary may drop an answer that anything else follows.
func (s *Stream) Close() error {
	s.CloseWrite()
	s.c.mu.Lock()
	s.releaseLocked()
	isOver := s.err != nil
	code := http2.ErrCodeCancel
	if s.isAnswered {
		code = http2.ErrCodeNo
	}
	s.c.mu.Unlock()
	if !isOver {
		s.reset(code, ErrClosed)
	}
	s.c.mu.Lock()
	s.buf.free()
	s.c.forgetWindowLocked(s)
	s.c.mu.Unlock()
	return nil
}

// SetWriteTimeout bounds how long a Write waits without any of it being taken:
// os.ErrDeadlineExceeded then. Zero is no bound. Unlike a deadline it costs a Write
// that does not wait nothing.
func (s *Stream) SetWriteTimeout(d time.Duration) {
	s.c.mu.Lock()
	s.stall = d
	s.c.mu.Unlock()
}

// awaitHeader waits for the response's header section.
func (s *Stream) awaitHeader(ctx context.Context) error {
	select {
	case <-s.headerc:
	case <-ctx.Done():
		s.Reset(http2.ErrCodeCancel)
		return context.Cause(ctx)
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.hasHeader {
		return nil
	}
	return s.err
}

// tellHeaderLocked lets awaitHeader go on.
func (s *Stream) tellHeaderLocked() {
	if s.headerc != nil && !s.hasHeader {
		close(s.headerc)
	}
}

var _ net.Conn = (*Stream)(nil)
