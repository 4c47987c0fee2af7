package pool

import (
	"context"
	"net"

	"golang.org/x/net/http2"
)

// Accept waits for a stream, answers it with 200 and returns it. A peer's
// [Client.Open] so returns when its stream has been accepted. After the server's end
// it returns ErrClosed. Only for a server without [ServerConfig.Accept].
func (s *Server) Accept(ctx context.Context) (*Stream, error) {
	for {
		select {
		case st := <-s.queuec:
			if st.Respond(200) == nil { // else it ended while it waited
				return st, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-s.ctx.Done():
			return nil, ErrClosed
		}
	}
}

// enqueue is the ServerConfig.Accept of a server that has none.
func (s *Server) enqueue(st *Stream) {
	select {
	case s.queuec <- st:
	default:
		st.Reset(http2.ErrCodeRefusedStream)
	}
}

// Listener returns a net.Listener of the streams, for an http.Server or whatever
// else serves connections: its Accept is [Server.Accept]. Closing it ends its
// Accepts; the server, its connections and streams go on.
func (s *Server) Listener() net.Listener {
	l := &streamListener{s: s}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

type streamListener struct {
	s      *Server
	ctx    context.Context // ends at Close
	cancel context.CancelCauseFunc
}

func (l *streamListener) Accept() (net.Conn, error) {
	st, err := l.s.Accept(l.ctx)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func (l *streamListener) Close() error {
	l.cancel(ErrClosed)
	return nil
}

// Addr returns the address of the first listener that the server serves.
func (l *streamListener) Addr() net.Addr {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	if l.s.addr == nil {
		return noAddr{}
	}
	return l.s.addr
}

// noAddr is the address of a server that serves no listener yet.
type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "" }
