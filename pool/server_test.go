package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

func TestAddressRules(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, p := range list {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, tt := range []struct {
		name        string
		allow, deny []netip.Prefix
		addr        string
		want        bool
	}{
		{"no rule", nil, nil, "192.0.2.1:1", true},
		{"allowed", prefixes("192.0.2.0/24"), nil, "192.0.2.1:1", true},
		{"not allowed", prefixes("192.0.2.0/24"), nil, "192.0.3.1:1", false},
		{"denied of the allowed", prefixes("192.0.2.0/24"), prefixes("192.0.2.1/32"), "192.0.2.1:1", false},
		{"denied only", nil, prefixes("192.0.2.1/32"), "192.0.2.2:1", true},
		{"IPv6", prefixes("2001:db8::/32"), nil, "[2001:db8::1]:1", true},
		{"other IPv6", prefixes("2001:db8::/32"), nil, "[2001:db9::1]:1", false},
		{"IPv6 when only IPv4 may", prefixes("0.0.0.0/0"), nil, "[2001:db8::1]:1", false},
		{"mapped address", prefixes("192.0.2.0/24"), nil, "[::ffff:192.0.2.1]:1", true},
		{"mapped address, denied", nil, prefixes("192.0.2.0/24"), "[::ffff:192.0.2.1]:1", false},
		{"mapped prefix", prefixes("::ffff:192.0.2.0/120"), nil, "192.0.2.1:1", true},
		{"zone", prefixes("fe80::/10"), nil, "[fe80::1%eth0]:1", true},
		{"Unix socket", nil, prefixes("0.0.0.0/0"), "/run/x", true},
		{"Unix socket, not allowed", prefixes("0.0.0.0/0"), nil, "/run/x", false},
	} {
		cfg, err := ServerConfig{Common: Common{Cleartext: true}, Allow: tt.allow, Deny: tt.deny}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		if got := cfg.admits(&net.UnixAddr{Name: tt.addr}); got != tt.want {
			t.Errorf("%s: got %v; want %v", tt.name, got, tt.want)
		}
	}
}

// A refused connection is closed without a byte, not left to its client.
func TestRefusedAddressIsClosed(t *testing.T) {
	ln := listen(t)
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo, Deny: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	defer srv.Close()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if n, err := nc.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("got %d bytes, %v; want the end", n, err)
	}
	if st := srv.Stats(); st.Conns != 0 {
		t.Errorf("got %d connections; want none", st.Conns)
	}
}

// pair is a client and a server of one process, joined in memory.
func pair(t *testing.T, sc ServerConfig, cc ClientConfig) (*Client, *Server) {
	t.Helper()
	ln := newPipeListener()
	sc.Cleartext, cc.Cleartext = true, true
	cc.Addr, cc.Dial = "pipe", ln.dial
	srv, err := NewServer(sc)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	cl, err := NewClient(cc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cl.Close()
		srv.Close()
	})
	return cl, srv
}

func TestStreamsBeyondTheBacklogWereNotStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := pair(t, ServerConfig{Backlog: 2}, ClientConfig{})
		errs := make(chan error, 3)
		for range 3 {
			go func() {
				_, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
				errs <- err
			}()
			synctest.Wait()
		}
		if err := <-errs; !errors.Is(err, ErrNotStarted) || errors.Is(err, ErrGoAway) {
			t.Errorf("got %v; want ErrNotStarted", err)
		}
		for range 2 {
			if _, err := srv.Accept(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	})
}

// A stream whose client has given up is not handed out.
func TestAcceptSkipsStreamsThatAreOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := pair(t, ServerConfig{}, ClientConfig{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := cl.Open(ctx, Header{Path: "/given-up"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the deadline", err)
		}
		synctest.Wait() // until the server knows
		go cl.Open(t.Context(), Header{Path: "/wanted"}, nil)
		s, err := srv.Accept(t.Context())
		if err != nil || s.Header().Path != "/wanted" {
			t.Errorf("got %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := srv.Accept(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the deadline", err)
		}
	})
}

func TestListenerEndsWithoutItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := pair(t, ServerConfig{}, ClientConfig{})
		l := srv.Listener()
		ended := make(chan error, 1)
		go func() {
			for {
				if _, err := l.Accept(); err != nil {
					ended <- err
					return
				}
			}
		}()
		s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v; want net.ErrClosed", err)
		}
		if _, err := s.Write([]byte("x")); err != nil {
			t.Errorf("the stream ended with the listener: %v", err)
		}
		go cl.Open(t.Context(), Header{Path: "/"}, nil)
		if _, err := srv.Accept(t.Context()); err != nil {
			t.Error(err)
		}
		srv.Close()
		if _, err := srv.Accept(t.Context()); err != ErrClosed {
			t.Errorf("got %v; want ErrClosed", err)
		}
	})
}

// Whoever closes, every stream ends at both ends, for who reads and who writes.
func TestCloseEndsStreamsAtBothEnds(t *testing.T) {
	for _, who := range []string{"client", "server"} {
		synctest.Test(t, func(t *testing.T) {
			cl, srv := pair(t, ServerConfig{}, ClientConfig{Conns: 2})
			synctest.Wait()
			ends := make(chan error, 80)
			for range 20 {
				var at [2]*Stream
				opened := make(chan struct{})
				go func() {
					at[0], _ = cl.Open(t.Context(), Header{Path: "/"}, nil)
					close(opened)
				}()
				at[1], _ = srv.Accept(t.Context())
				<-opened
				for _, s := range at {
					go func() {
						_, err := s.Read(make([]byte, 1))
						ends <- err
					}()
					go func() {
						_, err := s.Write(make([]byte, 1<<20)) // more than the window
						ends <- err
					}()
				}
			}
			synctest.Wait()
			if who == "client" {
				cl.Close()
			} else {
				srv.Close()
			}
			for range cap(ends) - 40 { // of the writers; what is read is what they wrote
				if err := <-ends; err == io.EOF {
					t.Errorf("close of the %s: a stream ended as if it were whole", who)
				}
			}
			synctest.Wait()
			if n := cl.Stats().Streams + srv.Stats().Streams; n != 0 {
				t.Errorf("close of the %s: %d streams left", who, n)
			}
		})
	}
}

// The limit of streams is of those open at once, not of those there ever were.
func TestStreamsAreNotUsedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, srv := pair(t, ServerConfig{Common: Common{MaxStreams: 4}}, ClientConfig{})
		go func() {
			for {
				s, err := srv.Accept(t.Context())
				if err != nil {
					return
				}
				s.CloseWrite()
			}
		}()
		for i := range 100 {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err != nil {
				t.Fatal(i, err)
			}
			s.Close()
		}
		if n := cl.Stats().Dials; n != 1 {
			t.Errorf("got %d dials; want 1", n)
		}
	})
}

// A 403 is no stream, whether it comes alone or with a body that never ends.
func TestRefusalIsNotAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, _ := pair(t, ServerConfig{Accept: func(s *Stream) {
			if s.Header().Path == "/endless" {
				s.Respond(403)
				return
			}
			s.Refuse(403, "not you\n")
		}}, ClientConfig{})
		for _, path := range []string{"/", "/endless"} {
			s, err := cl.Open(t.Context(), Header{Path: path}, newSink())
			se, ok := errors.AsType[*StatusError](err)
			if !ok || se.Status != 403 || s != nil {
				t.Errorf("%s: got %v, %v; want status 403", path, s, err)
			}
		}
		synctest.Wait()
		if n := cl.Stats().Streams; n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
}

// fromConn is a connection that came from an address.
type fromConn struct {
	net.Conn
	addr net.Addr
}

func (c fromConn) RemoteAddr() net.Addr { return c.addr }

// Of one address, or one network of IPv6, only so many connections are served, those in TLS too;
// one that ends makes room.
func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		ca := newAuthority()
		srv, err := NewServer(ServerConfig{
			Common: Common{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("back")}}, HandshakeTimeout: time.Hour}, MaxConnsPerAddr: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		go srv.Serve(ln)
		defer srv.Close()
		come := func(addr string) net.Conn {
			near, far := net.Pipe()
			ln.connc <- fromConn{far, &net.UnixAddr{Name: addr}}
			synctest.Wait()
			return near
		}
		isServed := func(nc net.Conn) bool {
			nc.SetReadDeadline(time.Now().Add(time.Second))
			_, err := nc.Read(make([]byte, 1))
			return errors.Is(err, os.ErrDeadlineExceeded)
		}
		var first net.Conn
		refused := int64(0)
		for i, tt := range []struct {
			addr string
			want bool
		}{
			{"192.0.2.1:1", true}, {"[::ffff:192.0.2.1]:2", true}, {"192.0.2.1:3", false}, {"192.0.2.2:1", true},
			{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", true}, {"[2001:db8::3]:1", false}, {"[2001:db8:0:1::3]:1", true},
			{"/run/x", true}, {"/run/x", true}, {"/run/x", true},
		} {
			nc := come(tt.addr)
			defer nc.Close()
			if first == nil {
				first = nc
			}
			if got := isServed(nc); got != tt.want {
				t.Errorf("%d, from %s: served: %v; want %v", i, tt.addr, got, tt.want)
			}
			if !tt.want {
				refused++
			}
		}
		if got := srv.Stats().Refused; got != refused {
			t.Errorf("%d were refused; want %d", got, refused)
		}
		first.Close()
		synctest.Wait()
		again := come("192.0.2.1:4")
		defer again.Close()
		if !isServed(again) {
			t.Error("one in the place of another is not served")
		}
		if len(srv.addrs) != 4 {
			t.Errorf("counts %v; want those of 4 addresses", srv.addrs)
		}
	})
}
