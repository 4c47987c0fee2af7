package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

func TestHeaderBlockOfManyFramesEndsTheConnection(t *testing.T) {
	for _, test := range []struct {
		name  string
		piece []byte
		most  int
	}{
		{"empty frames", nil, 40},
		{"frames of one byte", []byte{0x82}, 40}, // :method GET, which may not come twice, but nobody looks yet
		{"frames of 16 KiB", bytes.Repeat([]byte{0x82}, 16<<10), 8},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, isClient := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					var p *flooder
					if isClient {
						var cl *Client
						cl, p, _ = attackedClient(t)
						defer cl.Close()
					} else {
						var srv *Server
						srv, p, _ = attackedServer(t, ServerConfig{})
						defer srv.Close()
					}
					id := uint32(3)
					if isClient {
						id = 1
					}
					p.do("HEADERS", p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id}))
					turns := p.flood(func(int) error { return first(p.fr.WriteContinuation(id, false, test.piece), p.flush()) })
					if turns > test.most {
						t.Errorf("client %v: ended after %d frames; want at most %d", isClient, turns, test.most)
					}
					if code := <-p.end; code != codeCalm && code != http2.ErrCodeProtocol {
						t.Errorf("client %v: got GOAWAY %v; want ENHANCE_YOUR_CALM, or the Framer's PROTOCOL_ERROR", isClient, code)
					}
				})
			}
		})
	}
}

// A block of 30000 references to one large entry of the table is a list of 100 MiB.
func TestManyReferencesToOneFieldAreCutAtTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fields := 0
		srv, p, _ := attackedServer(t, ServerConfig{Accept: func(s *Stream) { fields = max(fields, len(s.Header().Fields)) }})
		defer srv.Close()
		block := p.block(":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "bomb", string(make([]byte, 3500)))
		block = append(block, bytes.Repeat([]byte{0x80 | 62}, 30000)...)
		p.do("HEADERS", first(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 3, EndHeaders: true, BlockFragment: block}), p.flush()))
		synctest.Wait()
		if fields > 5 {
			t.Errorf("accepted a stream with %d fields", fields)
		}
	})
}

// Entries that push each other out, and the table's size changed at each block, cost
// time and no memory.
func TestTableOfAPeerStaysAtItsSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p, _ := attackedServer(t, ServerConfig{Accept: func(s *Stream) { s.Refuse(404, "") }})
		defer srv.Close()
		for i := range 200 {
			p.enc.SetMaxDynamicTableSize(uint32(i % 2 * 4096))
			fields := []string{":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/"}
			for j := range 40 {
				fields = append(fields, "churn", string(bytes.Repeat([]byte{byte('a' + j%26)}, 20+i)))
			}
			p.headers(uint32(2*i+3), true, fields...)
		}
		p.do("PING", first(p.fr.WritePing(false, [8]byte{}), p.flush()))
		synctest.Wait()
		// A table above the announced 4096 is an error of compression.
		p.buf.Reset()
		hpackSize(&p.buf, 1<<20)
		p.do("HEADERS", first(p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1001, EndHeaders: true, BlockFragment: p.buf.Bytes()}), p.flush()))
		if code := <-p.end; code != http2.ErrCodeCompression {
			t.Errorf("got GOAWAY %v; want COMPRESSION_ERROR", code)
		}
	})
}

// hpackSize appends a dynamic table size update, RFC 7541 6.3.
func hpackSize(w *bytes.Buffer, n uint32) {
	enc := hpack.NewEncoder(w)
	enc.SetMaxDynamicTableSizeLimit(n)
	enc.SetMaxDynamicTableSize(n)
	enc.WriteField(hpack.HeaderField{Name: ":method", Value: "GET"})
}

// What a handler began counts until the handler is done, whoever ended the stream.
func TestStreamCountsUntilItsOwnerIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var accepted []*Stream
		srv, p, _ := attackedServer(t, ServerConfig{Common: Common{MaxStreams: 11}, Accept: func(s *Stream) {
			s.Respond(200)
			accepted = append(accepted, s)
			go s.Read(make([]byte, 1))
		}})
		defer srv.Close()
		open := func(id uint32, n int) {
			for range n {
				p.do("stream", first(p.open(id), p.flush()))
				synctest.Wait()
				if id%4 == 1 {
					p.do("RST_STREAM", p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
				} else {
					p.do("WINDOW_UPDATE 0", p.fr.WriteWindowUpdate(id, 0)) // makes the server reset it
				}
				p.do("flush", p.flush())
				synctest.Wait()
				id += 2
			}
		}
		open(3, 100)
		if n := len(accepted); n != 22 {
			t.Errorf("got %d streams accepted; want twice MaxStreams 11", n)
		}
		for _, s := range accepted {
			s.Close()
		}
		accepted = nil
		open(1003, 100)
		if n := len(accepted); n != 22 {
			t.Errorf("got %d streams accepted after the first were closed; want 22 again", n)
		}
	})
}

// Each such reset costs what one does that the peer makes.
func TestDataBeyondTheWindowResetsItsStreamAtACost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *Stream
		srv, p, _ := attackedServer(t, ServerConfig{Accept: func(st *Stream) { s = st }})
		defer srv.Close()
		for range initialWindow/maxReadFrame + 1 {
			p.do("DATA", p.fr.WriteData(1, false, make([]byte, maxReadFrame)))
		}
		p.do("flush", p.flush())
		synctest.Wait()
		if re, ok := errors.AsType[*ResetError](s.err); !ok || re.Code != http2.ErrCodeFlowControl {
			t.Errorf("got %v; want FLOW_CONTROL_ERROR", s.err)
		}
		if s.buf.size != 0 {
			t.Errorf("%d bytes are kept", s.buf.size)
		}
		if d := s.c.budget.debt; d != 3*budgetUnit { // with SETTINGS and its ACK
			t.Errorf("debt is %v; want %v", d, 3*budgetUnit)
		}
	})
}

// A client may cancel a tenth of its requests, or thousands a second, for ever.
func TestCancelsOfALivelyClientAreNotAnAttack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p, log := attackedServer(t, ServerConfig{Accept: func(s *Stream) {
			if s.ID()%20 != 1 { // the others stay without an answer, and are cancelled
				s.Refuse(404, "")
			}
		}})
		defer srv.Close()
		id := uint32(3)
		for range 2 * 1000 { // 2 s in which one of ten is cancelled, at 50000 a second
			for range 50 {
				p.do("stream", p.open(id))
				if id%20 == 1 {
					p.do("RST_STREAM", p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
				}
				id += 2
			}
			p.do("flush", p.flush())
			time.Sleep(time.Millisecond)
			if t.Failed() {
				return
			}
		}
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		srv, p, log := attackedServer(t, ServerConfig{})
		defer srv.Close()
		id := uint32(3)
		for range 5 * 1000 { // 5 s of 5000 cancels a second, none answered
			for range 5 {
				p.do("stream", first(p.open(id), p.fr.WriteData(id, false, make([]byte, 1000)), p.fr.WriteRSTStream(id, http2.ErrCodeCancel)))
				id += 2
			}
			p.do("flush", p.flush())
			time.Sleep(time.Millisecond)
			if t.Failed() {
				return
			}
		}
		synctest.Wait()
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
	})
}

// What RFC 9113 calls an error is one, with its code.
func TestViolationsEndTheConnectionWithTheirCode(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(p *flooder) error
		code Code
	}{
		{"even id", func(p *flooder) error { return p.open(2) }, http2.ErrCodeProtocol},
		{"lower id", func(p *flooder) error { return first(p.open(9), p.open(3)) }, http2.ErrCodeStreamClosed},
		{"used id", func(p *flooder) error { return first(p.fr.WriteRSTStream(1, 0), p.open(1)) }, http2.ErrCodeStreamClosed},
		{"DATA on an idle stream", func(p *flooder) error { return p.fr.WriteData(9, false, []byte("x")) }, http2.ErrCodeProtocol},
		{"RST_STREAM on an idle stream", func(p *flooder) error { return p.fr.WriteRSTStream(9, 0) }, http2.ErrCodeProtocol},
		{"WINDOW_UPDATE on an idle stream", func(p *flooder) error { return p.fr.WriteWindowUpdate(9, 1) }, http2.ErrCodeProtocol},
		{"WINDOW_UPDATE 0", func(p *flooder) error { return p.fr.WriteWindowUpdate(0, 0) }, http2.ErrCodeProtocol},
		{"window that overflows", func(p *flooder) error { return p.fr.WriteWindowUpdate(0, 1<<31-1) }, http2.ErrCodeFlowControl},
		{"windows that overflow by SETTINGS", func(p *flooder) error {
			return first(p.fr.WriteWindowUpdate(1, 1<<30), p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 30}))
		}, http2.ErrCodeFlowControl},
		{"window over 2^31-1", func(p *flooder) error {
			return p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}, http2.ErrCodeFlowControl},
		{"MAX_FRAME_SIZE 0", func(p *flooder) error {
			return p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 0})
		}, http2.ErrCodeProtocol},
		{"MAX_FRAME_SIZE 2^24", func(p *flooder) error {
			return p.fr.WriteSettings(http2.Setting{ID: http2.SettingMaxFrameSize, Val: 1 << 24})
		}, http2.ErrCodeProtocol},
		{"PUSH_PROMISE", func(p *flooder) error {
			return p.fr.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, EndHeaders: true, BlockFragment: p.block(":method", "GET")})
		}, http2.ErrCodeProtocol},
		{"CONTINUATION of nothing", func(p *flooder) error { return p.fr.WriteContinuation(1, true, nil) }, http2.ErrCodeProtocol},
		{"frame too large", func(p *flooder) error { return p.fr.WriteRawFrame(0xbe, 0, 0, make([]byte, maxReadFrame+1)) }, http2.ErrCodeFrameSize},
		{"DATA beyond the connection's window", func(p *flooder) error { // on streams that are over, and so return no credit of their own
			for range connWindow/maxReadFrame + 1 {
				if err := p.fr.WriteData(1, false, make([]byte, maxReadFrame)); err != nil {
					return nil
				}
			}
			return nil
		}, noCode}, // credit comes back: no violation
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, p, _ := attackedServer(t, ServerConfig{})
				defer srv.Close()
				test.send(p)
				p.flush()
				synctest.Wait()
				if test.code == noCode {
					p.nc.Close()
				}
				if code := <-p.end; code != test.code {
					t.Errorf("got GOAWAY %v; want %v", code, test.code)
				}
			})
			if test.name == "even id" || test.name == "lower id" || test.name == "used id" || test.code == noCode {
				return // a server's streams are the client's choice
			}
			synctest.Test(t, func(t *testing.T) {
				cl, p, _ := attackedClient(t)
				defer cl.Close()
				test.send(p)
				p.flush()
				if code := <-p.end; code != test.code {
					t.Errorf("client: got GOAWAY %v; want %v", code, test.code)
				}
			})
		})
	}
}

// A peer that never gives credit holds what its writer gave, and the writer leaves by
// its deadline.
func TestWriterLeavesAWindowOfZeroByItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cl, p, _ := attackedClient(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		defer cl.Close()
		p.headers(1, false, ":status", "200")
		p.do("flush", p.flush())
		var s *Stream
		opened := make(chan error, 1)
		go func() {
			var err error
			s, err = cl.Open(t.Context(), Header{Path: "/"}, nil)
			opened <- err
		}()
		synctest.Wait() // the second stream that the client opens is none before
		p.headers(3, false, ":status", "200")
		p.do("flush", p.flush())
		if err := <-opened; err != nil {
			t.Fatal(err)
		}
		s.SetWriteDeadline(time.Now().Add(7 * time.Second))
		began := time.Now()
		n, err := s.Write(make([]byte, 1<<20))
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != 7*time.Second {
			t.Errorf("got %d, %v after %v; want nothing written in 7s", n, err, time.Since(began))
		}
		s.c.mu.Lock()
		if n := len(s.c.out); n > 100 {
			t.Errorf("%d bytes wait for the socket", n)
		}
		s.c.mu.Unlock()
		s.Close()
	})
}

// Credit byte by byte makes DATA frames of a byte; each costs the peer a frame, so
// that their number is bounded as that of any.
func TestCreditInCrumbsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p, _ := attackedServer(t, ServerConfig{Accept: func(s *Stream) {
			s.Respond(200)
			go s.Write(make([]byte, 10<<20))
		}})
		defer srv.Close()
		p.do("SETTINGS", first(p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}), p.fr.WriteWindowUpdate(0, 1<<20), p.open(3)))
		turns := p.flood(func(int) error { return p.fr.WriteWindowUpdate(3, 1) })
		if code := <-p.end; code != codeCalm {
			t.Errorf("got GOAWAY %v; want ENHANCE_YOUR_CALM", code)
		}
		checkTurns(t, turns, 1)
		if p.data > 25000 {
			t.Errorf("got %d DATA frames; want at most about 20000", p.data)
		}
	})
}

// Credit for each small frame, from a peer that uses what it gets, costs nothing.
func TestCreditForEachSmallFrameIsNotAnAttack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, p, log := attackedServer(t, ServerConfig{Accept: func(s *Stream) {
			s.Respond(200)
			go func() {
				for range 100_000 {
					if _, err := s.Write([]byte("a small message")); err != nil {
						return
					}
					s.Read(make([]byte, 1))
				}
				s.CloseWrite()
			}()
		}})
		defer srv.Close()
		p.do("stream", first(p.open(3), p.flush()))
		for range 100_000 {
			p.do("credit", first(p.fr.WriteWindowUpdate(0, 15), p.fr.WriteWindowUpdate(3, 15), p.fr.WriteData(3, false, []byte("x")), p.flush()))
			synctest.Wait()
			if t.Failed() {
				break
			}
		}
		if log.Len() > 0 {
			t.Errorf("log: %s", log)
		}
	})
}

// A peer that makes this end answer and does not read is cut off while what waits
// for it is small.
func TestAnswersThatAreNotReadAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		cfg := Common{Cleartext: true, PingPeriod: -1}
		cfg.complete()
		c := newConn(a, false, &cfg)
		c.accept = func(s *Stream) { s.Refuse(404, string(make([]byte, 1000))) }
		ended := make(chan error, 1)
		go func() { ended <- c.run() }()
		p := newFlooder(t, b)
		p.b.w.WriteString(http2.ClientPreface)
		p.do("SETTINGS", p.fr.WriteSettings())
		p.flood(func(i int) error { return first(p.open(uint32(2*i+1)), p.fr.WritePing(false, [8]byte{})) })
		if err := <-ended; err == nil {
			t.Error("the connection ended without an error")
		}
		if n := cap(c.out); n > 2*outHardLimit {
			t.Errorf("%d bytes were kept for the peer; want at most %d", n, 2*outHardLimit)
		}
	})
}

func TestStalledHandshakesEndByTheirDeadline(t *testing.T) {
	for _, sent := range []string{"", "PRI * HTTP", http2.ClientPreface, http2.ClientPreface + "\x00\x00\x06\x04"} {
		synctest.Test(t, func(t *testing.T) {
			ln := newPipeListener()
			srv, _ := NewServer(ServerConfig{Common: Common{Cleartext: true}, Accept: echo})
			go srv.Serve(ln)
			defer srv.Close()
			nc, _ := ln.dial(t.Context(), "", "")
			go io.WriteString(nc, sent)
			began := time.Now()
			io.Copy(io.Discard, nc)
			if d := time.Since(began); d != 10*time.Second {
				t.Errorf("%q: ended after %v; want 10s", sent, d)
			}
		})
	}
}

// A server that allows no stream gets a bounded number of connections, and calls
// end by their deadline.
func TestServerThatAllowsNoStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true, PingPeriod: -1}, Addr: "x", Dial: func(context.Context, string, string) (net.Conn, error) {
			dials++
			a, b := net.Pipe()
			go io.Copy(io.Discard, b)
			go b.Write(appendSettings(nil, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0}))
			t.Cleanup(func() { b.Close() })
			return a, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := cl.Open(ctx, Header{Path: "/"}, nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v; want the deadline", err)
		}
		if st := cl.Stats(); st.Conns > 9 || dials > 9 {
			t.Errorf("got %d dials, %d connections; want at most 9", dials, st.Conns)
		}
	})
}
