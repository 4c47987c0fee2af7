package proxy

import (
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// webSource is the body of a request that net/http received. Its readLoop reads, since a read of net/http's cannot be ended
// and begun again; what waits for it can.
type webSource struct {
	c      *webCall
	r      *http.Request
	pieces chan webPiece // not buffered: one is taken, and one being read
	quitc  chan struct{} // closed by close
	wg     sync.WaitGroup

	isEnded bool         // owned by the one who calls next, as is end
	end     []wire.Field // the trailers, once isEnded

	mu    sync.Mutex // guards all below
	gone  func()
	isOut bool          // the client is
	outc  chan struct{} // closed when it is
	stopc chan struct{} // closed by stop, replaced by restart
	isOff bool          // stopc is closed
}

type webPiece struct {
	p   []byte
	err error
}

func newWebSource(c *webCall, r *http.Request) *webSource {
	s := &webSource{
		c: c, r: r, pieces: make(chan webPiece), quitc: make(chan struct{}),
		outc: make(chan struct{}), stopc: make(chan struct{}),
	}
	s.wg.Go(s.readLoop)
	return s
}

// close ends readLoop.
func (s *webSource) close() {
	close(s.quitc)
	s.c.rc.SetReadDeadline(time.Unix(1, 0))
	s.wg.Wait()
}

// readLoop reads the body, two pieces in turn, until its end, an error, or close.
func (s *webSource) readLoop() {
	var bufs [2][]byte
	var in pace
	total := int64(0)
	for i := 0; ; i++ {
		if bufs[i%2] == nil {
			bufs[i%2] = make([]byte, bulkPiece)
		}
		timeout, rate := s.c.f.cfg.ReadTimeout, s.c.f.cfg.MinRate
		if s.c.isAnswered.Load() { // what it sends waits for what it is told
			rate = 0
		}
		began := time.Now()
		if timeout > 0 {
			s.c.rc.SetReadDeadline(began.Add(timeout))
		}
		select { // close's deadline may have been before that
		case <-s.quitc:
			return
		default:
		}
		n, err := s.r.Body.Read(bufs[i%2])
		s.c.f.route.stats.clientIn.Add(int64(n))
		if !in.spent(time.Since(began), int64(n), timeout, rate) {
			err = errPace
		}
		if timeout > 0 { // it would end the body while nobody waits for the client
			s.c.rc.SetReadDeadline(time.Time{})
		}
		if total += int64(n); s.c.f.cfg.isOver(total) {
			s.give(webPiece{err: errBodyLimit})
			return
		}
		if n > 0 && !s.give(webPiece{p: bufs[i%2][:n]}) {
			return
		}
		if err != nil {
			s.give(webPiece{err: err})
			return
		}
	}
}

func (s *webSource) give(p webPiece) bool {
	select {
	case s.pieces <- p:
		return true
	case <-s.quitc:
		return false
	}
}

// next implements source.
func (s *webSource) next() ([]byte, error) {
	s.mu.Lock()
	stopc := s.stopc
	s.mu.Unlock()
	pieces := s.pieces
	if s.isEnded {
		pieces = nil
	}
	select {
	case <-stopc:
		return nil, errStopped
	case <-s.outc:
		return nil, errGone
	case piece := <-pieces:
		switch ne, ok := errors.AsType[net.Error](piece.err); {
		case piece.err == nil:
			return piece.p, nil
		case piece.err == io.EOF:
			s.isEnded = true
			if status := s.takeTrailers(); status != 0 {
				s.c.cut(status)
				return nil, errCut
			}
			return nil, io.EOF
		case piece.err == errBodyLimit:
			s.c.cut(413)
		case piece.err == errPace, ok && ne.Timeout():
			s.c.cut(408)
		}
		return nil, errCut
	}
}

// takeTrailers holds the trailers to what HTTP/1.1's are, as fill does the head; a status other than 0 refuses them.
func (s *webSource) takeTrailers() int {
	p, ok := appendWebFields([]byte("0\r\n"), s.r.Trailer, "")
	if !ok {
		return 400
	}
	var body http1.Chunked
	body.Reset(s.c.f.lim)
	_, _, _, err := body.Next(http1.AppendEnd(p, 0))
	if he, ok := errors.AsType[*http1.Error](err); ok {
		return he.Status
	}
	s.end = body.Trailers
	return 0
}

// trailers implements source.
func (s *webSource) trailers() []wire.Field { return s.end }

// stop implements source.
func (s *webSource) stop() {
	s.mu.Lock()
	if !s.isOff {
		s.isOff = true
		close(s.stopc)
	}
	s.mu.Unlock()
}

// restart implements source.
func (s *webSource) restart() {
	s.mu.Lock()
	if s.isOff {
		s.isOff = false
		s.stopc = make(chan struct{})
	}
	s.mu.Unlock()
}

// onGone implements source.
func (s *webSource) onGone(f func()) {
	s.mu.Lock()
	s.gone = f
	isOut := s.isOut
	s.mu.Unlock()
	if isOut {
		f()
	}
}

// leave notes that the client is gone.
func (s *webSource) leave() {
	s.mu.Lock()
	if s.isOut {
		s.mu.Unlock()
		return
	}
	s.isOut = true
	s.c.isCancelled.Store(true) // nothing is to be repeated, nor answered
	close(s.outc)
	gone := s.gone
	s.mu.Unlock()
	if gone != nil {
		gone()
	}
}
