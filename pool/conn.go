package pool

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// conn is the engine of one HTTP/2 connection, the same at both ends. readLoop
// reads and handles frames; DATA is appended to out by whoever writes a stream,
// and written to the socket by that goroutine when nobody else is writing, else by
// writeLoop; keepLoop watches for a dead peer.
type conn struct {
	// Immutable.
	nc   net.Conn
	addr string // the peer's, for Trace
	// busyStreams is ClientConfig's, and busyc is told when it is reached.
	busyStreams int
	busyc       chan struct{}
	tlsState    *tls.ConnectionState
	isClient    bool
	cfg         *Common
	accept      func(*Stream) // server only
	onChange    func()        // client only: room, GOAWAY or end may have changed
	donec       chan struct{} // closed when the connection is over
	readyc      chan struct{} // closed by readLoop at the peer's first SETTINGS
	kickc       chan struct{} // wakes writeLoop, capacity 1
	wg          sync.WaitGroup

	// Owned by readLoop.
	br          *input
	in          *frameReader // of br
	fr          *http2.Framer
	sawSettings bool
	lastID      uint32  // highest stream the peer opened; read elsewhere atomically
	reading     *Stream // whose DATA is being read, if it is large

	isLeaving atomic.Bool  // leaving is set: nothing the peer sends matters
	lastRead  atomic.Int64 // when a byte was last read, nanoseconds since start
	start     time.Time

	isLost bool // guarded by Client.mu: its loss was noted

	mu         sync.Mutex    // guards all below
	idleSince  time.Duration // since start: when the last stream ended
	err        error         // why it is over
	leaving    error         // why it will be, once out has been written
	streams    map[uint32]*Stream
	nextID     uint32     // client only
	isDraining bool       // GOAWAY was sent or received: no new streams
	isDrained  bool       // it was sent first
	isLeft     bool       // client only: no new streams but beside others
	goAwayID   uint32     // server: the last stream accepted before our GOAWAY
	held       int        // server: streams that are over, but not for their owners
	refused    int        // server: streams whose isRefused is set
	budget     budget     // of what the peer asks for nothing
	ended      [32]uint32 // the streams last ended whose peer may send nothing more
	endedNext  int

	out        []byte // frames for the socket, in order
	spare      []byte // the buffer out takes turns with
	isWriting  bool   // someone is in nc.Write
	writing    int    // with so many bytes
	isSleeping bool   // writeLoop waits for kickc
	writeSince time.Time
	busySince  time.Time // since when as many streams wait for the socket as make it busy
	isBusy     bool
	blocked    []*Stream // writers waiting for out or for sendWindow
	bulk       []*Stream // those without a Receiver that may send, whose turn is first
	bulkLimit  int       // of their bytes in one write
	bounder    bounder   // the socket, if it is one; immutable
	gatherer   gatherer  // the same
	records    *records  // below TLS; immutable
	drip       *drip     // where the kernel does not tell what has gone; immutable
	loans      []loan    // the payloads that belong into out
	vector     [][]byte  // owned by who has set isWriting, as is the next
	gathered   net.Buffers
	isBound    bool      // it was told so
	heldBytes  int       // what it holds at most, as it said; 0: no bound
	boundAt    time.Time // when it was last told, or bulk was last written
	hasBatch   bool      // DATA of batched streams is in out
	henc       *hpack.Encoder
	hbuf       bytes.Buffer

	sendWindow  int64 // what we may send, all streams
	recvWindow  int64 // what the peer may send
	recvDue     int64 // consumed and not yet returned by WINDOW_UPDATE
	windows     int64 // taken of cfg.Windows
	peerWindow  int64 // SETTINGS_INITIAL_WINDOW_SIZE
	peerFrame   int   // SETTINGS_MAX_FRAME_SIZE
	peerHeader  int   // SETTINGS_MAX_HEADER_LIST_SIZE, maxHeader at most
	peerStreams uint32
	rtt         time.Duration // least seen, of SETTINGS and PING
	pingSent    time.Duration // since start
	bytesIn     atomic.Int64
	dataIn      atomic.Int64 // about, of DATA, parts of frames too
	bytesOut    atomic.Int64

	socket syscall.RawConn           // of nc, immutable; nil when it has none
	wire   atomic.Pointer[WireStats] // what the kernel counted, once nc is closed
}

func newConn(nc net.Conn, isClient bool, cfg *Common) *conn {
	c := &conn{
		nc: nc, isClient: isClient, cfg: cfg,
		donec: make(chan struct{}), readyc: make(chan struct{}), kickc: make(chan struct{}, 1),
		br:         newInput(nc),
		start:      time.Now(),
		streams:    make(map[uint32]*Stream),
		nextID:     1,
		sendWindow: 65535, recvWindow: connWindow, peerWindow: 65535,
		peerFrame: minPeerFrame, peerHeader: maxHeader, peerStreams: math.MaxUint32,
		goAwayID: math.MaxUint32, bulkLimit: minBulk,
	}
	c.bounder, c.gatherer, c.records = bounderOf(nc), gathererOf(nc), recordsOf(nc)
	c.socket = socketOf(nc)
	c.watch()
	c.henc = hpack.NewEncoder(&c.hbuf)
	c.in = newFrameReader(c.br, cfg.MaxHeaderBytes)
	c.fr = http2.NewFramer(io.Discard, c.in)
	c.fr.SetReuseFrames()
	c.fr.SetMaxReadFrameSize(maxReadFrame)
	c.fr.MaxHeaderListSize = uint32(c.in.maxBlock) // and isTooLarge at MaxHeaderBytes
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)

	if isClient {
		c.out = append(c.out, http2.ClientPreface...)
	}
	settings := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: leastWindow},
		{ID: http2.SettingMaxFrameSize, Val: maxReadFrame},
		{ID: http2.SettingMaxHeaderListSize, Val: uint32(cfg.MaxHeaderBytes)},
	}
	if isClient {
		settings = append(settings, http2.Setting{ID: http2.SettingEnablePush, Val: 0})
	} else {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(cfg.MaxStreams)})
	}
	c.out = appendSettings(c.out, settings...)
	c.out = appendWindowUpdate(c.out, 0, connWindow-65535)
	return c
}

// errChallenge is of a connection that a certificate authority validates a name by: RFC 8737 has no more than the handshake.
var errChallenge = errors.New("tls: the handshake was all")

// handshake does TLS where it is configured; the result takes nc's place.
func handshake(ctx context.Context, nc net.Conn, isClient bool, cfg *Common) (net.Conn, *tls.ConnectionState, error) {
	if cfg.Cleartext {
		return nc, nil, nil
	}
	nc = &records{Conn: nc}
	tc := tls.Server(nc, cfg.TLS)
	if isClient {
		tc = tls.Client(nc, cfg.TLS)
	}
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, nil, handshakeError(err, isClient)
	}
	state := tc.ConnectionState()
	switch state.NegotiatedProtocol {
	case "h2":
	case acme.ALPNProto:
		return nil, nil, errChallenge
	default:
		return nil, nil, fmt.Errorf("tls: peer negotiated %q instead of h2", state.NegotiatedProtocol)
	}
	return tc, &state, nil
}

// run serves the connection until it is over and returns why. Every stream
// has been told, and no goroutine is left, when it returns.
func (c *conn) run() error {
	if !c.isClient {
		c.cfg.Windows.conns.Add(1)
		defer c.cfg.Windows.conns.Add(-1)
	}
	c.wg.Go(c.writeLoop)
	c.wg.Go(c.keepLoop)
	err := c.readLoop()
	c.sayGoodbye(err)
	c.close(err)
	c.mu.Lock()
	err = c.err
	left := make([]*Stream, 0, len(c.streams))
	for _, s := range c.streams {
		left = append(left, s)
	}
	if _, isError := errors.AsType[*ConnError](err); (c.isDraining || c.isLeft) && len(left) == 0 && !isError {
		if err = ErrGoAway; c.isDrained { // whoever closed first, both ends knew
			err = errDrained
		}
	}
	c.mu.Unlock()
	for _, s := range left {
		c.endStream(s, err)
	}
	c.wg.Wait()
	return err
}

// sayGoodbye tells the peer of an error of its own; best effort, within a second.
func (c *conn) sayGoodbye(err error) {
	ce, ok := errors.AsType[*ConnError](err)
	if !ok || ce.Peer {
		return
	}
	c.mu.Lock()
	isLeaving := c.leaving != nil
	if !isLeaving {
		c.out = appendGoAway(c.out, c.lastID, ce.Code, ce.Reason)
	}
	c.mu.Unlock()
	if isLeaving {
		return
	}
	c.nc.SetWriteDeadline(time.Now().Add(lingerTimeout))
	c.closeSoon(err)
	<-c.donec
}

// close ends the connection now; the first error wins.
func (c *conn) close(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	if c.leaving != nil {
		err = c.leaving
	}
	c.err = err
	close(c.donec)
	c.mu.Unlock()
	c.closeSocket()
	c.changed()
}

func (c *conn) changed() {
	if c.onChange != nil {
		c.onChange()
	}
}

// drain announces that no further stream will be served; the connection closes
// when the last one has ended.
func (c *conn) drain() {
	c.mu.Lock()
	if c.isDraining || c.err != nil {
		c.mu.Unlock()
		return
	}
	c.isDraining, c.isDrained = true, !c.isLeft
	c.goAwayID = atomic.LoadUint32(&c.lastID)
	c.out = appendGoAway(c.out, c.goAwayID, http2.ErrCodeNo, "")
	var refused []*Stream // nobody waits for the rest of these
	for _, s := range c.streams {
		if s.isRefused {
			refused = append(refused, s)
		}
	}
	c.kickLocked()
	isIdle := len(c.streams) == 0
	c.mu.Unlock()
	for _, s := range refused {
		s.Close()
	}
	if isIdle {
		c.closeSoon(ErrClosed)
	}
	c.changed()
}

// hasRoom reports whether another stream may be opened, and how many are open.
func (c *conn) hasRoom() (bool, int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roomLocked() && !c.isLeft, len(c.streams)
}

// hasRoomBeside is hasRoom for a stream that belongs to one of this connection's.
func (c *conn) hasRoomBeside() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.roomLocked()
}

func (c *conn) roomLocked() bool {
	return c.err == nil && !c.isDraining && uint32(len(c.streams)) < c.peerStreams && c.nextID < 1<<31-1
}

// isUsable reports whether streams may be opened, now or when others have ended.
func (c *conn) isUsable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.isDraining && !c.isLeft && c.nextID < 1<<31-1
}

// leave closes the connection once its last stream has ended.
func (c *conn) leave() {
	c.mu.Lock()
	c.isLeft = true
	isIdle := len(c.streams) == 0
	c.mu.Unlock()
	if isIdle {
		c.closeSoon(ErrClosed)
	}
	c.changed()
}

// idleFor returns for how long there has been no stream.
func (c *conn) idleFor() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.streams) > 0 {
		return 0
	}
	return time.Since(c.start) - c.idleSince
}

// open sends the header section that opens a stream.
func (c *conn) open(h *Header, r Receiver) (*Stream, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return nil, c.err
	case c.isDraining || uint32(len(c.streams)) >= c.peerStreams || c.nextID >= 1<<31-1:
		return nil, ErrGoAway
	}
	if err := c.fitsLocked(h); err != nil {
		return nil, err
	}
	s := newStream(c, c.nextID, r)
	s.headerc = make(chan struct{})
	c.nextID += 2
	s.sendWindow = c.peerWindow
	c.streams[s.id] = s
	c.hbuf.Reset()
	encodeHeader(c.henc, h)
	c.out = appendHeaders(c.out, s.id, &c.hbuf, false, c.peerFrame)
	c.widenLocked(s)
	c.kickLocked()
	return s, nil
}

// fitsLocked reports whether the peer takes a header list of that size. One that it does not
// take costs a peer, and may cost a connection.
func (c *conn) fitsLocked(h *Header) error {
	if n := h.size(); n > c.peerHeader {
		return headerErrorf("%d bytes, the peer takes %d", n, c.peerHeader)
	}
	return nil
}

// endStream removes s and tells its owner why; nil-safe to call twice.
func (c *conn) endStream(s *Stream, err error) {
	c.mu.Lock()
	isFirst := s.err == nil
	isFull := uint32(len(c.streams)) >= c.peerStreams
	tell := c.endStreamLocked(s, err)
	over := s.over
	s.over = nil
	isIdle := (c.isDraining || c.isLeft) && len(c.streams) == 0
	c.mu.Unlock()
	if isFirst {
		c.cfg.Trace.closed(s, err)
	}
	if tell {
		s.receiver.Closed(err)
	}
	if over != nil {
		over()
	}
	if isIdle {
		c.closeSoon(ErrClosed)
	} else if isFull {
		c.changed()
	}
}

// endStreamLocked reports whether the receiver is still to be told.
func (c *conn) endStreamLocked(s *Stream, err error) (tell bool) {
	if s.err == nil {
		s.err = err
		if s.isRefused {
			c.refused--
		}
		s.tellHeaderLocked()
		if s.donec != nil {
			close(s.donec)
		}
		s.wakeReaderLocked()
		s.wakeSenderLocked()
		s.forgetDeadlinesLocked()
		c.unblockLocked(s)
		if err == io.EOF {
			c.budget.repay(1)
		}
		if !s.isRecvEnd {
			s.buf.free() // nobody can tell what was lost behind it
		}
		if err != io.EOF || s.buf.size > 0 {
			s.holdLocked()
		}
		if !c.isClient && c.streams[s.id] == s {
			c.cfg.Windows.streams.Add(-1)
		}
	}
	delete(c.streams, s.id)
	if s.isRecvEnd {
		c.noteEndedLocked(s.id)
	}
	if len(c.streams) == 0 && c.isClient {
		c.idleSince = time.Since(c.start)
	}
	c.forgetWindowLocked(s)
	tell = s.receiver != nil && !s.isTold
	s.isTold = true
	return tell
}

// noteEndedLocked remembers for a while that the peer ended a stream. What comes
// on one that only this end has ended may have been on its way.
func (c *conn) noteEndedLocked(id uint32) {
	c.ended[c.endedNext] = id
	c.endedNext = (c.endedNext + 1) % len(c.ended)
}

// lateLocked judges DATA, or trailers, on a stream that is no more.
func (c *conn) lateLocked(id uint32) error {
	switch {
	case c.isIdleLocked(id):
		return protocolError("frame on an idle stream")
	case slices.Contains(c.ended[:], id):
		return &ConnError{Code: http2.ErrCodeStreamClosed, Reason: "frame on a stream that its sender ended"}
	}
	return nil
}
