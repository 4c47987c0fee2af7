package pool

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
)

const codeCalm = http2.ErrCodeEnhanceYourCalm

// maxDebug is how much of a GOAWAY's text is kept.
const maxDebug = 256

// readLoop reads frames until the connection is over and returns why.
func (c *conn) readLoop() error {
	first := c.readPreface
	if c.isClient {
		first = c.readFirst
	}
	if err := first(); err != nil {
		return err
	}
	for {
		fh, err := c.fr.ReadFrameHeader()
		if err == nil && c.isForPieces(fh) {
			if err = c.readPieces(fh); err == nil {
				continue
			}
			return err
		}
		var f http2.Frame
		if err == nil {
			f, err = c.fr.ReadFrameForHeader(fh)
			c.reading = nil
		}
		if err != nil {
			if se, ok := errors.AsType[http2.StreamError](err); ok {
				if err := c.resetID(se.StreamID, se.Code); err != nil {
					return err
				}
				continue
			}
			return c.readError(err)
		}
		c.bytesIn.Add(int64(f.Header().Length) + 9)
		if c.isLeaving.Load() {
			continue
		}
		if !c.sawSettings {
			if sf, ok := f.(*http2.SettingsFrame); !ok || sf.IsAck() {
				return protocolError("first frame is not SETTINGS")
			}
		}
		if err := c.handle(f); err != nil {
			return err
		}
	}
}

// readPreface checks the client's 24 bytes one at a time, so that a client
// which speaks something else is turned away at its first wrong byte.
func (c *conn) readPreface() error {
	for i := range len(http2.ClientPreface) {
		b, err := c.br.ReadByte()
		if err != nil {
			return err
		}
		if b != http2.ClientPreface[i] {
			rest := c.br.buffered()
			rest = rest[:min(4, len(rest))]
			return protocolError("no HTTP/2 preface: peer " + spoken(append([]byte(http2.ClientPreface[:i]), append([]byte{b}, rest...)...)))
		}
	}
	return nil
}

func protocolError(reason string) error {
	return &ConnError{Code: http2.ErrCodeProtocol, Reason: reason}
}

func (c *conn) readError(err error) error {
	if ce, ok := errors.AsType[http2.ConnectionError](err); ok {
		reason := "malformed frame"
		if d := c.fr.ErrorDetail(); d != nil {
			reason = d.Error()
		}
		return &ConnError{Code: Code(ce), Reason: reason}
	}
	switch {
	case errors.Is(err, http2.ErrFrameTooLarge):
		return &ConnError{Code: http2.ErrCodeFrameSize, Reason: "frame too large"}
	case errors.Is(err, io.EOF): // io.EOF is the proper end of a stream, and must mean no other
		return io.ErrUnexpectedEOF
	}
	return err
}

func (c *conn) handle(f http2.Frame) error {
	switch f := f.(type) {
	case *http2.DataFrame:
		return c.onData(f)
	case *http2.MetaHeadersFrame:
		return c.onHeaders(f)
	case *http2.WindowUpdateFrame:
		return c.onWindowUpdate(f)
	case *http2.SettingsFrame:
		return c.onSettings(f)
	case *http2.PingFrame:
		c.mu.Lock()
		if f.IsAck() {
			c.rtt = min(c.rtt, time.Since(c.start)-c.pingSent)
		} else {
			c.out = appendPing(c.out, true, f.Data)
			c.kickLocked()
		}
		err := c.spendLocked(1, "PING")
		c.mu.Unlock()
		return err
	case *http2.RSTStreamFrame:
		return c.onReset(f)
	case *http2.GoAwayFrame:
		return c.onGoAway(f)
	case *http2.PriorityFrame:
		if f.StreamDep == f.StreamID {
			return protocolError("a stream depends on itself")
		}
	case *http2.PushPromiseFrame:
		return protocolError("PUSH_PROMISE")
	}
	return c.spend(1, "PRIORITY or unknown") // ignored, RFC 9113 5.3.2 and 5.5
}

// onData accounts for a DATA frame and hands its payload on. The connection's
// credit is due as soon as the payload is stored or consumed; the stream's when
// its consumer took it.
func (c *conn) onData(f *http2.DataFrame) error {
	if len(f.Data()) == 0 && !f.StreamEnded() {
		if err := c.spend(1, "empty DATA"); err != nil {
			return err
		}
	}
	return c.onPayload(f.FrameHeader, f.Data(), nil)
}

// isForPieces reports whether a frame's payload is to be kept: it is read to where
// it stays then. Of a large one it notes the stream, since it may be long in coming.
func (c *conn) isForPieces(fh http2.FrameHeader) bool {
	if fh.Type != http2.FrameData || fh.Length < pieceSize/2 || fh.Flags.Has(http2.FlagDataPadded) || !c.sawSettings || c.isLeaving.Load() {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.reading = c.streams[fh.StreamID]; c.reading == nil {
		return false
	}
	c.dataIn.Add(int64(min(len(c.br.buffered()), int(fh.Length))))
	c.reading.came.Store(c.lastRead.Load())
	return c.reading.receiver == nil
}

// readPieces reads such a frame's payload.
func (c *conn) readPieces(fh http2.FrameHeader) error {
	var kept recvBuffer
	defer kept.free()
	err := kept.readFrom(c.in, int(fh.Length))
	c.reading = nil
	if err != nil {
		return c.readError(err)
	}
	c.bytesIn.Add(int64(fh.Length) + 9)
	return c.onPayload(fh, nil, &kept)
}

// onPayload is onData with the payload in p or kept.
func (c *conn) onPayload(f http2.FrameHeader, p []byte, kept *recvBuffer) error {
	n := int64(f.Length)
	c.mu.Lock()
	if n > c.recvWindow {
		c.mu.Unlock()
		return &ConnError{Code: http2.ErrCodeFlowControl, Reason: "DATA beyond the connection's window"}
	}
	c.recvWindow -= n
	c.recvDue += n
	if c.recvDue >= connWindow/4 {
		c.out = appendWindowUpdate(c.out, 0, uint32(c.recvDue))
		c.recvWindow += c.recvDue
		c.recvDue = 0
		c.kickLocked()
	}
	s := c.streams[f.StreamID]
	if s == nil {
		err := c.lateLocked(f.StreamID)
		c.mu.Unlock()
		return err
	}
	var code Code
	switch {
	case s.isRecvEnd:
		code = http2.ErrCodeStreamClosed
	case n > s.recvWindow:
		code = http2.ErrCodeFlowControl
	case c.isClient && !s.hasHeader:
		code = http2.ErrCodeProtocol
	}
	if code != 0 {
		c.mu.Unlock()
		return c.provoked(s, code, &ResetError{Code: code, Local: true})
	}
	s.recvWindow -= n
	s.came.Store(c.lastRead.Load())
	if n < pieceSize/2 { // else they were counted as they came
		c.dataIn.Add(n)
	}
	if s.isRefused {
		c.mu.Unlock()
		c.onRefusedData(s, f)
		return nil
	}
	r := s.receiver
	if r == nil {
		if kept != nil {
			s.buf.take(kept)
		} else {
			s.buf.write(p)
			c.creditLocked(s, n-int64(len(p)))
		}
		s.wakeReaderLocked()
		c.mu.Unlock()
	} else {
		c.mu.Unlock()
		if len(p) > 0 {
			if err := r.Receive(p); err != nil {
				return c.resetError(s, err)
			}
		}
		c.mu.Lock()
		c.creditLocked(s, n)
		c.mu.Unlock()
	}
	if f.Flags.Has(http2.FlagDataEndStream) {
		c.recvEnd(s)
	}
	return nil
}

// onRefusedData drops what follows on a stream that was refused, to half a window.
func (c *conn) onRefusedData(s *Stream, f http2.FrameHeader) {
	if f.Flags.Has(http2.FlagDataEndStream) {
		c.recvEnd(s)
		return
	}
	c.mu.Lock()
	isOver := s.recvWindow < leastWindow/2
	if isOver {
		c.out = appendReset(c.out, s.id, http2.ErrCodeNo)
		c.kickLocked()
	}
	c.mu.Unlock()
	if isOver {
		c.endStream(s, io.EOF)
	}
}

// resetError resets s after its Receiver returned err.
func (c *conn) resetError(s *Stream, err error) error {
	code := http2.ErrCodeProtocol
	if re, ok := errors.AsType[*ResetError](err); ok {
		code = re.Code
	}
	return c.provoked(s, code, err)
}

// recvEnd notes that the peer has ended its side of s.
func (c *conn) recvEnd(s *Stream) {
	c.mu.Lock()
	s.isRecvEnd = true
	tell := s.receiver != nil && !s.isTold
	if tell {
		s.isTold = true
	}
	isOver := s.isSendEnd && s.text == ""
	s.wakeReaderLocked()
	c.mu.Unlock()
	if tell {
		s.receiver.Closed(io.EOF)
	}
	if isOver {
		c.endStream(s, io.EOF)
	}
}

func (c *conn) isIdleLocked(id uint32) bool {
	if c.isClient {
		return id%2 == 0 || id >= c.nextID
	}
	return id%2 == 0 || id > c.lastID
}

// isTooLarge reports whether a header list is larger than was announced. The Framer stops
// only at a larger bound: what it does then may end the connection.
func (c *conn) isTooLarge(f *http2.MetaHeadersFrame) bool {
	n := 0
	for _, hf := range f.Fields {
		n += int(hf.Size())
	}
	return f.Truncated || n > c.cfg.MaxHeaderBytes
}

func (c *conn) onHeaders(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	c.mu.Lock()
	s := c.streams[id]
	isIdle := c.isIdleLocked(id)
	late := c.lateLocked(id) // if s is nil
	err := c.spendLocked(c.in.block>>10, "HEADERS of some size")
	c.mu.Unlock()
	var code Code
	switch {
	case err != nil:
		return err
	case c.isTooLarge(f) && s != nil:
		code = codeCalm
	case s != nil && c.isClient && !s.hasHeader:
		return c.onResponse(s, f)
	case s != nil: // trailers
		if s.isRecvEnd {
			code = http2.ErrCodeStreamClosed
		} else if !f.StreamEnded() || f.PseudoValue("status") != "" || f.PseudoValue("method") != "" {
			code = http2.ErrCodeProtocol
		} else {
			c.recvEnd(s)
			return nil
		}
	case c.isClient && isIdle:
		return protocolError("HEADERS on an idle stream")
	case !c.isClient && isIdle:
		return c.onRequest(f)
	case !c.isClient && f.PseudoValue("method") != "":
		return &ConnError{Code: http2.ErrCodeStreamClosed, Reason: "request on a closed stream"}
	case !c.isClient && !f.StreamEnded():
		return protocolError("trailers that end nothing")
	case late != nil:
		return late
	default: // of a stream that this end has ended
		return c.spend(1, "late HEADERS")
	}
	return c.provoked(s, code, &ResetError{Code: code, Local: true})
}

func (c *conn) onResponse(s *Stream, f *http2.MetaHeadersFrame) error {
	h := headerOf(f)
	if h.Status >= 100 && h.Status < 200 && !f.StreamEnded() {
		return c.spend(1, "interim response") // nothing on the hop uses it
	}
	if h.Status < 200 {
		return c.provoked(s, http2.ErrCodeProtocol, &ResetError{Code: http2.ErrCodeProtocol, Local: true})
	}
	s.header = h
	if o, ok := s.receiver.(Opener); ok && h.Status == 200 {
		if err := o.Opened(s); err != nil {
			return c.resetError(s, err)
		}
	}
	c.mu.Lock()
	if s.err == nil {
		s.tellHeaderLocked()
	}
	s.hasHeader = true
	c.mu.Unlock()
	if f.StreamEnded() {
		c.recvEnd(s)
	}
	return nil
}

func (c *conn) onRequest(f *http2.MetaHeadersFrame) error {
	id := f.StreamID
	if id%2 == 0 {
		return protocolError("client opened a stream with an even id")
	}
	h := headerOf(f)
	s := newStream(c, id, nil)
	s.header, s.hasHeader = h, true
	s.opened = time.Duration(c.lastRead.Load())
	c.mu.Lock()
	atomic.StoreUint32(&c.lastID, id) // with the stream's entry, as drain sees both
	if c.isDraining && id > c.goAwayID {
		defer c.mu.Unlock()
		return c.spendLocked(1, "HEADERS after GOAWAY") // which said that it is not served
	}
	var code Code
	switch {
	case !c.hasPlaceLocked():
		code = http2.ErrCodeRefusedStream
	case c.isTooLarge(f):
		code = codeCalm
	case h.Method == "" || h.Path == "" || h.Scheme == "" || f.HasPriority() && f.Priority.StreamDep == id:
		code = http2.ErrCodeProtocol
	}
	if code == 0 {
		code = checkFields(f)
	}
	if code != 0 {
		c.out = appendReset(c.out, id, code)
		c.kickLocked()
		c.mu.Unlock()
		return c.provoked(nil, code, nil)
	}
	s.sendWindow = c.peerWindow
	s.isRecvEnd = f.StreamEnded()
	c.streams[id] = s
	c.cfg.Windows.streams.Add(1)
	c.mu.Unlock()
	c.cfg.Trace.opened(s)
	c.accept(s)
	c.mu.Lock()
	c.widenLocked(s)
	c.kickLocked()
	tell := s.isRecvEnd && s.receiver != nil && !s.isTold
	if tell {
		s.isTold = true
	}
	c.mu.Unlock()
	if tell {
		s.receiver.Closed(io.EOF)
	}
	return nil
}

// hasPlaceLocked reports whether the peer may have another stream. Those that are
// over for the peer but not for their owners have as many places again: a client
// that ends a stream and opens the next at once is not to be refused.
func (c *conn) hasPlaceLocked() bool {
	n := len(c.streams)
	return n < c.cfg.MaxStreams && n+c.held < 2*c.cfg.MaxStreams && c.cfg.Windows.hasPlace(n+c.held)
}

// checkFields refuses what RFC 9113 8.2.2 and 8.3 forbid and the Framer lets pass.
func checkFields(f *http2.MetaHeadersFrame) Code {
	for _, hf := range f.RegularFields() {
		if isOfConnection(hf.Name, hf.Value) {
			return http2.ErrCodeProtocol
		}
	}
	return 0
}

func (c *conn) onWindowUpdate(f *http2.WindowUpdateFrame) error {
	n := int64(f.Increment)
	c.mu.Lock()
	if f.StreamID == 0 {
		c.sendWindow += n
		isOver := c.sendWindow > maxWindow
		err := c.spendLocked(1+len(c.blocked)>>4, "WINDOW_UPDATE") // each is woken
		c.wakeLocked()
		if c.hasOutLocked() {
			c.kickLocked()
		}
		c.mu.Unlock()
		if isOver {
			return &ConnError{Code: http2.ErrCodeFlowControl, Reason: "window overflow"}
		}
		return err
	}
	if err := c.spendLocked(1, "WINDOW_UPDATE"); err != nil {
		c.mu.Unlock()
		return err
	}
	s := c.streams[f.StreamID]
	if s == nil {
		isIdle := c.isIdleLocked(f.StreamID)
		c.mu.Unlock()
		if isIdle {
			return protocolError("WINDOW_UPDATE on an idle stream")
		}
		return nil
	}
	s.sendWindow += n
	isOver := s.sendWindow > maxWindow
	s.wakeSenderLocked()
	isTold := s.text != "" && c.sendTextLocked(s)
	c.mu.Unlock()
	switch {
	case isOver:
		return c.provoked(s, http2.ErrCodeFlowControl, &ResetError{Code: http2.ErrCodeFlowControl, Local: true})
	case isTold:
		c.endStream(s, io.EOF)
	}
	return nil
}

func (c *conn) onSettings(f *http2.SettingsFrame) error {
	if f.IsAck() {
		c.mu.Lock()
		if c.rtt == 0 { // SETTINGS is the first frame either end sends
			c.rtt = max(1, time.Since(c.start))
		}
		err := c.spendLocked(1, "SETTINGS")
		c.mu.Unlock()
		return err
	}
	c.mu.Lock()
	err := c.spendLocked(1+f.NumSettings()+len(c.streams)>>4, "SETTINGS")
	if err == nil {
		err = f.ForeachSetting(c.applySettingLocked)
	}
	c.out = appendSettingsAck(c.out)
	var told []*Stream // refused ones whose text the windows now take
	for _, s := range c.streams {
		if s.text != "" && c.sendTextLocked(s) {
			told = append(told, s)
		}
	}
	c.kickLocked()
	c.mu.Unlock()
	if err != nil {
		return err
	}
	for _, s := range told {
		c.endStream(s, io.EOF)
	}
	if !c.sawSettings {
		c.sawSettings = true
		close(c.readyc)
	}
	c.changed()
	return nil
}

func (c *conn) applySettingLocked(set http2.Setting) error {
	if err := set.Valid(); err != nil {
		code := http2.ErrCodeProtocol
		if ce, ok := errors.AsType[http2.ConnectionError](err); ok {
			code = Code(ce)
		}
		return &ConnError{Code: code, Reason: fmt.Sprintf("invalid setting %v", set)}
	}
	switch set.ID {
	case http2.SettingHeaderTableSize:
		c.henc.SetMaxDynamicTableSize(min(set.Val, 4096))
	case http2.SettingMaxConcurrentStreams:
		c.peerStreams = set.Val
	case http2.SettingMaxFrameSize:
		c.peerFrame = int(set.Val)
	case http2.SettingMaxHeaderListSize:
		c.peerHeader = int(min(set.Val, maxHeader))
	case http2.SettingInitialWindowSize:
		if err := c.spendLocked(len(c.streams)>>2, "SETTINGS"); err != nil { // each is woken
			return err
		}
		d := int64(set.Val) - c.peerWindow
		c.peerWindow = int64(set.Val)
		for _, s := range c.streams {
			if s.sendWindow += d; s.sendWindow > maxWindow {
				return &ConnError{Code: http2.ErrCodeFlowControl, Reason: "window overflow"}
			}
			s.wakeSenderLocked()
		}
	}
	return nil
}

func (c *conn) onReset(f *http2.RSTStreamFrame) error {
	c.mu.Lock()
	s := c.streams[f.StreamID]
	isIdle := c.isIdleLocked(f.StreamID)
	c.noteEndedLocked(f.StreamID)
	c.mu.Unlock()
	switch {
	case s != nil:
		err := c.peerReset(s)
		c.cfg.Trace.reset(s, f.ErrCode, false)
		c.endStream(s, &ResetError{Code: f.ErrCode})
		return err
	case isIdle:
		return protocolError("RST_STREAM on an idle stream")
	}
	return c.spend(1, "RST_STREAM on a closed stream")
}

func (c *conn) onGoAway(f *http2.GoAwayFrame) error {
	var lost []*Stream
	var cause error // nil of a drain
	c.mu.Lock()
	if err := c.spendLocked(1+len(c.streams)>>2, "GOAWAY"); err != nil {
		c.mu.Unlock()
		return err
	}
	c.isDraining = true
	for id, s := range c.streams {
		if c.isClient && id > f.LastStreamID {
			lost = append(lost, s)
		}
	}
	isIdle := len(c.streams) == 0
	c.mu.Unlock()
	why := ErrGoAway
	if f.ErrCode != http2.ErrCodeNo {
		debug := f.DebugData()
		cause = &ConnError{Code: f.ErrCode, Reason: string(debug[:min(len(debug), maxDebug)]), Peer: true}
		why = fmt.Errorf("%w: %w", ErrGoAway, cause)
	}
	for _, s := range lost {
		if s.hasHeader { // it was started, whatever the peer says now
			c.endStream(s, &ConnError{Code: f.ErrCode, Peer: true})
			continue
		}
		c.endStream(s, why)
	}
	if isIdle && !c.isClient { // whatever its code: nothing is lost, and what is behind it is read before the end
		c.closeSoon(ErrClosed)
		return nil
	}
	if cause != nil {
		return cause
	}
	if isIdle {
		c.close(ErrGoAway)
	}
	c.changed()
	return nil
}

// resetID answers a frame that was wrong for one stream.
func (c *conn) resetID(id uint32, code Code) error {
	c.mu.Lock()
	s := c.streams[id]
	if s == nil {
		if !c.isClient && id%2 == 1 && id > c.lastID {
			atomic.StoreUint32(&c.lastID, id) // a malformed request used the id up
		}
		c.out = appendReset(c.out, id, code)
		c.kickLocked()
	}
	c.mu.Unlock()
	return c.provoked(s, code, &ResetError{Code: code, Local: true})
}
