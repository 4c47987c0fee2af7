package pool

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// passThin passes bytes on at so many a second, as a thin link with little of a buffer does.
func passThin(dst, src net.Conn, rate int) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, rate/20)
	for {
		n, err := src.Read(buf)
		if _, werr := dst.Write(buf[:n]); err != nil || werr != nil {
			return
		}
		time.Sleep(time.Duration(n) * time.Second / time.Duration(rate))
	}
}

// dialThin dials over such a link.
func (l *pipeListener) dialThin(wg *sync.WaitGroup, rate int) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		far, err := l.dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		near, mid := net.Pipe()
		wg.Go(func() { passThin(far, mid, rate) })
		wg.Go(func() { passThin(mid, far, rate) })
		return near, nil
	}
}

// A link that takes minutes for what both ends have to send, so that a PING, a frame, a write
// to the socket and a record of TLS are each long on their way, loses no connection.
func TestThinLinkIsNoDeadPeer(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate int
		isOf bool // TLS
	}{{"in the clear", 12_000, false}, {"over TLS", 12_000, true}, {"very thin", 4_000, true}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var wg sync.WaitGroup
				defer wg.Wait()
				scfg, ccfg := Common{Cleartext: true}, Common{Cleartext: true}
				if tt.isOf {
					ca := newAuthority() // the bubble has its own clock
					scfg = Common{TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("back")}}}
					ccfg = Common{TLS: &tls.Config{RootCAs: ca.pool}}
				}
				ln := newPipeListener()
				srv, err := NewServer(ServerConfig{Common: scfg, Accept: func(s *Stream) {
					if s.Header().Path == "/batched" { // what comes is consumed at once, nothing goes back
						s.SetReceiver(newSink())
						s.Respond(200)
						return
					}
					echo(s)
				}})
				if err != nil {
					t.Fatal(err)
				}
				go srv.Serve(ln)
				defer srv.Close()
				cl, err := NewClient(ClientConfig{Common: ccfg, Addr: "back", Dial: ln.dialThin(&wg, tt.rate)})
				if err != nil {
					t.Fatal(err)
				}
				defer cl.Close()
				size := 40 * tt.rate
				var streams sync.WaitGroup
				for i := range 3 {
					h, r := Header{Path: "/"}, Receiver(nil)
					if i == 0 {
						h, r = Header{Path: "/batched"}, newSink()
					}
					s, err := cl.Open(t.Context(), h, r)
					if err != nil {
						t.Fatal(err)
					}
					streams.Go(func() {
						if _, err := s.Write(make([]byte, size)); err != nil {
							t.Errorf("stream %d: %v", s.ID(), err)
						}
						s.CloseWrite()
					})
					if r == nil {
						streams.Go(func() {
							if n, err := io.Copy(io.Discard, s); n != int64(size) || err != nil {
								t.Errorf("stream %d: %d bytes came back, %v; want %d", s.ID(), n, err, size)
							}
						})
					}
				}
				streams.Wait()
				if st := cl.Stats(); st.Dials != 1 || st.Errors != 0 {
					t.Errorf("got %+v; want one dial and no error", st)
				}
			})
		})
	}
}

// A process that is stopped is found in the time of one that is silent, though its kernel goes
// on to take what is sent: when little is, when the receive buffer is full, and when a PING
// that was behind much has come there.
func TestStoppedPeerIsFoundThoughItsKernelTakesBytes(t *testing.T) {
	for _, tt := range []struct {
		name        string
		rate, room  int           // of the link, and of the receive buffer
		write       int           // at once
		pause       time.Duration // between two writes
		least, most time.Duration
	}{
		{"little is sent", 1 << 20, 1 << 30, 100, 300 * time.Millisecond, 10 * time.Second, 10 * time.Second},
		{"the buffer is full at once", 1 << 20, 100_000, 4 << 10, 0, 10 * time.Second, 10 * time.Second},
		{"the buffer is full later", 50_000, 400_000, 4 << 10, 0, 10 * time.Second, 15 * time.Second},
		{"the PING is behind much", 25_000, 1 << 30, outSoftLimit, 0, 11 * time.Second, 5*time.Second + (outSoftLimit+minBulk)*time.Second/25_000 + 5*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				var wg sync.WaitGroup
				defer wg.Wait()
				defer b.Close()
				wg.Go(func() {
					b.Write(appendSettings(nil))
					buf := make([]byte, tt.rate/20)
					for left := tt.room; left > 0; {
						n, err := b.Read(buf[:min(left, len(buf))])
						if err != nil {
							return
						}
						left -= n
						time.Sleep(time.Duration(n) * time.Second / time.Duration(tt.rate))
					}
				})
				c := newConn(a, true, &Common{Cleartext: true, PingPeriod: 5 * time.Second, PingTimeout: 5 * time.Second, MaxHeaderBytes: 1 << 14, Windows: NewWindows(0), Mix: NewMix()})
				c.sendWindow, c.peerWindow = 1<<30, 1<<30
				began := time.Now()
				wg.Go(func() {
					<-c.readyc
					s, err := c.open(&Header{Path: "/"}, newSink())
					if err != nil {
						t.Error(err)
						return
					}
					for err == nil {
						time.Sleep(tt.pause)
						_, err = s.Write(make([]byte, tt.write))
					}
				})
				if err := c.run(); err != ErrPingTimeout {
					t.Errorf("got %v; want ErrPingTimeout", err)
				}
				if d := time.Since(began); d < tt.least || d > tt.most {
					t.Errorf("found after %v; want %v to %v", d, tt.least, tt.most)
				}
			})
		})
	}
}

// A peer that sends and never reads is closed too.
func TestPeerThatOnlySendsIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		var wg sync.WaitGroup
		defer wg.Wait()
		defer b.Close()
		wg.Go(func() {
			fr := http2.NewFramer(b, nil)
			fr.WriteSettings()
			io.ReadFull(b, make([]byte, len(http2.ClientPreface)+9)) // and the rest of what is written blocks
			for fr.WriteWindowUpdate(0, 1) == nil {
				time.Sleep(time.Second)
			}
		})
		c := newConn(a, true, &Common{Cleartext: true, PingPeriod: 5 * time.Second, PingTimeout: 5 * time.Second, MaxHeaderBytes: 1 << 14, Windows: NewWindows(0)})
		began := time.Now()
		if err := c.run(); err != ErrPingTimeout {
			t.Errorf("got %v; want ErrPingTimeout", err)
		}
		if d := time.Since(began); d < 5*time.Second || d > 10*time.Second {
			t.Errorf("closed after %v; want 5s to 10s", d)
		}
	})
}

// When something came last is told of a frame in parts too.
func TestPartsOfAFrameAreReceived(t *testing.T) {
	for name, r := range map[string]Receiver{"read by calls": nil, "with a Receiver": newSink()} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, peers := dialScripted(t, ClientConfig{})
				p := <-peers
				p.nc.SetDeadline(time.Time{})
				go func() {
					p.wantHeaders(1)
					p.headers(1, false, ":status", "200")
				}()
				s, err := cl.Open(t.Context(), Header{Path: "/"}, r)
				if err != nil {
					t.Fatal(err)
				}
				frame := appendData(nil, 1, make([]byte, 40<<10), false)
				for len(frame) > 0 {
					time.Sleep(time.Second)
					n := min(len(frame), 4<<10)
					p.nc.Write(frame[:n])
					frame = frame[n:]
					synctest.Wait()
					if got := time.Since(s.ReceivedAt()); got != 0 {
						t.Fatalf("with %d bytes to come: received %v ago; want now", len(frame), got)
					}
				}
				time.Sleep(time.Second)
				p.fr.WritePing(false, [8]byte{}) // not the stream's
				synctest.Wait()
				if got := time.Since(s.ReceivedAt()); got != time.Second {
					t.Errorf("received %v ago; want 1s", got)
				}
			})
		})
	}
}
