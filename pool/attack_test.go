package pool

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/http2"
)

// buffered makes many small frames one write, so that floods are quick.
type buffered struct {
	net.Conn
	w *bufio.Writer
}

func (b *buffered) Write(p []byte) (int, error) { return b.w.Write(p) }

// flooder is a scripted peer that writes a lot and reads on the side.
type flooder struct {
	*scripted
	b    *buffered
	end  chan Code // of the GOAWAY before the connection's end
	data int       // DATA frames read, once end was told
}

const noCode = Code(0xffff)

func newFlooder(t testing.TB, nc net.Conn) *flooder {
	b := &buffered{Conn: nc, w: bufio.NewWriterSize(nc, 4<<10)}
	p := &flooder{scripted: newScripted(t, b), b: b, end: make(chan Code, 1)}
	nc.SetDeadline(time.Time{})
	return p
}

func (p *flooder) flush() error { return p.b.w.Flush() }

func (p *flooder) readLoop() {
	code := noCode
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			p.end <- code
			return
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			code = f.ErrCode
		case *http2.DataFrame:
			p.data++
		}
	}
}

// flood sends until the connection ends and returns how often.
func (p *flooder) flood(send func(i int) error) int {
	for i := range 100_000 {
		if err := send(i); err != nil {
			return i
		}
	}
	p.t.Error("still open after 100000 turns")
	p.nc.Close()
	return 0
}

func (p *flooder) open(id uint32) error {
	return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true,
		BlockFragment: p.block(":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/")})
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// attackedServer is a server in a bubble, with an attacker that has opened stream 1.
func attackedServer(t *testing.T, cfg ServerConfig) (*Server, *flooder, *bytes.Buffer) {
	ln := newPipeListener()
	log := new(bytes.Buffer)
	cfg.Cleartext = true
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if cfg.Accept == nil {
		cfg.Accept = func(*Stream) {}
	}
	srv, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	nc, _ := ln.dial(t.Context(), "", "")
	p := newFlooder(t, nc)
	go p.readLoop()
	p.b.w.WriteString(http2.ClientPreface)
	p.do("SETTINGS", first(p.fr.WriteSettings(), p.fr.WriteSettingsAck(), p.open(1), p.flush()))
	synctest.Wait()
	return srv, p, log
}

// Each is a turn of what a client can do for ever, and what it costs: the turns
// until the connection is ended are the limit over that.
var serverFloods = []struct {
	name string
	cost int
	send func(p *flooder, i int) error
}{
	{"rapid reset", 1, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return first(p.open(id), p.fr.WriteRSTStream(id, http2.ErrCodeCancel))
	}},
	{"reset made by WINDOW_UPDATE 0", 1, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return first(p.open(id), p.fr.WriteWindowUpdate(id, 0))
	}},
	{"reset made by a window that overflows", 2, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return first(p.open(id), p.fr.WriteWindowUpdate(id, 1<<31-1))
	}},
	{"reset made by DATA after END_STREAM", 1, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return first(p.open(id), p.fr.WriteData(id, true, nil), p.fr.WriteData(id, true, []byte("x")))
	}},
	{"reset made by HEADERS that end nothing", 1, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return first(p.open(id), p.open(id))
	}},
	{"empty HEADERS", 1, func(p *flooder, i int) error {
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), EndHeaders: true})
	}},
	{"HEADERS that depend on themselves", 1, func(p *flooder, i int) error {
		id := uint32(2*i + 3)
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, EndHeaders: true, Priority: http2.PriorityParam{StreamDep: id},
			BlockFragment: p.block(":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/")})
	}},
	{"header lists over the limit", 150, func(p *flooder, i int) error {
		long := string(bytes.Repeat([]byte("v"), 10<<10)) // 8.75 KiB in Huffman code
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 3), EndHeaders: true,
			BlockFragment: p.block("a", long+fmt.Sprint(i), "b", long+fmt.Sprint(i))})
	}},
	{"RST_STREAM on a closed stream", 1, func(p *flooder, i int) error { return p.fr.WriteRSTStream(1, http2.ErrCodeCancel) }},
	{"PING", 1, func(p *flooder, i int) error { return p.fr.WritePing(false, [8]byte{}) }},
	{"PING ACK", 1, func(p *flooder, i int) error { return p.fr.WritePing(true, [8]byte{}) }},
	{"SETTINGS", 1, func(p *flooder, i int) error { return p.fr.WriteSettings() }},
	{"SETTINGS of many settings", 2001, func(p *flooder, i int) error {
		many := make([]http2.Setting, 2000)
		for i := range many {
			many[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i % 2)}
		}
		return p.fr.WriteSettings(many...)
	}},
	{"SETTINGS ACK", 1, func(p *flooder, i int) error { return p.fr.WriteSettingsAck() }},
	{"empty DATA", 1, func(p *flooder, i int) error { return p.fr.WriteData(1, false, nil) }},
	{"DATA of padding", 1, func(p *flooder, i int) error { return p.fr.WriteDataPadded(1, false, nil, make([]byte, 255)) }},
	{"PRIORITY", 1, func(p *flooder, i int) error { return p.fr.WritePriority(1, http2.PriorityParam{}) }},
	{"unknown frames", 1, func(p *flooder, i int) error { return p.fr.WriteRawFrame(0xbe, 0, 1, []byte("x")) }},
	{"WINDOW_UPDATE of the connection", 1, func(p *flooder, i int) error { return p.fr.WriteWindowUpdate(0, 1) }},
	{"WINDOW_UPDATE of a stream", 1, func(p *flooder, i int) error { return p.fr.WriteWindowUpdate(1, 1) }},
	{"GOAWAY", 1, func(p *flooder, i int) error { return p.fr.WriteGoAway(uint32(i), http2.ErrCodeNo, nil) }},
}

func TestServerEndsFloods(t *testing.T) {
	for _, test := range serverFloods {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, p, log := attackedServer(t, ServerConfig{})
				defer srv.Close()
				turns := p.flood(func(i int) error { return test.send(p, i) })
				if code := <-p.end; code != codeCalm {
					t.Errorf("got GOAWAY %v; want ENHANCE_YOUR_CALM", code)
				}
				checkTurns(t, turns, test.cost)
				synctest.Wait()
				if n := strings.Count(log.String(), "too many useless frames"); n != 1 {
					t.Errorf("got %d lines with the reason; want 1: %s", n, log)
				}
			})
		})
	}
}

// checkTurns allows for what buffers and pipes hold that was sent and not handled.
func checkTurns(t *testing.T, turns, cost int) {
	t.Helper()
	limit := int(budgetLimit/budgetUnit) / cost
	if turns < limit*9/10 || turns > limit+5000 {
		t.Errorf("ended after %d turns; want about %d", turns, limit)
	}
}

// attackedClient is a client in a bubble, and the server it has opened stream 1 at.
func attackedClient(t *testing.T, settings ...http2.Setting) (*Client, *flooder, *bytes.Buffer) {
	a, b := net.Pipe()
	conns := make(chan net.Conn, 1)
	conns <- a
	log := new(bytes.Buffer)
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true, Logger: slog.New(slog.NewTextHandler(log, nil))}, Addr: "x",
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case nc := <-conns:
				return nc, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	p := newFlooder(t, b)
	b.Read(make([]byte, len(http2.ClientPreface)))
	go p.readLoop()
	p.do("SETTINGS", first(p.fr.WriteSettings(settings...), p.fr.WriteSettingsAck(), p.flush()))
	go cl.Open(t.Context(), Header{Path: "/"}, nil)
	synctest.Wait()
	return cl, p, log
}

var clientFloods = []struct {
	name string
	cost int
	send func(p *flooder, i int) error
}{
	{"interim responses", 1, func(p *flooder, i int) error {
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: p.block(":status", "103")})
	}},
	{"interim responses of some size", 3, func(p *flooder, i int) error {
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true,
			BlockFragment: p.block(":status", "103", "link", string(bytes.Repeat(fmt.Append(nil, i%7), 3500)))})
	}},
	{"PING", 1, func(p *flooder, i int) error { return p.fr.WritePing(false, [8]byte{}) }},
	{"SETTINGS", 1, func(p *flooder, i int) error { return p.fr.WriteSettings() }},
	{"SETTINGS ACK", 1, func(p *flooder, i int) error { return p.fr.WriteSettingsAck() }},
	{"empty DATA", 1, func(p *flooder, i int) error {
		if i == 0 {
			p.headers(1, false, ":status", "200")
		}
		return p.fr.WriteData(1, false, nil)
	}},
	{"RST_STREAM on a closed stream", 1, func(p *flooder, i int) error { return p.fr.WriteRSTStream(1, http2.ErrCodeCancel) }},
	{"HEADERS on a closed stream", 1, func(p *flooder, i int) error {
		if i == 0 {
			p.do("DATA", p.fr.WriteData(1, false, []byte("x"))) // before HEADERS: the client resets
		}
		return p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: p.block(":status", "200")})
	}},
	{"PRIORITY", 1, func(p *flooder, i int) error { return p.fr.WritePriority(1, http2.PriorityParam{}) }},
	{"unknown frames", 1, func(p *flooder, i int) error { return p.fr.WriteRawFrame(0xbe, 0, 0, nil) }},
	{"WINDOW_UPDATE of the connection", 1, func(p *flooder, i int) error { return p.fr.WriteWindowUpdate(0, 1) }},
	{"WINDOW_UPDATE of a stream", 1, func(p *flooder, i int) error { return p.fr.WriteWindowUpdate(1, 1) }},
	{"WINDOW_UPDATE 0", 1, func(p *flooder, i int) error { return p.fr.WriteWindowUpdate(1, 0) }},
	{"GOAWAY whose id rises", 1, func(p *flooder, i int) error { return p.fr.WriteGoAway(uint32(2*i+1), http2.ErrCodeNo, nil) }},
}

func TestClientEndsFloods(t *testing.T) {
	for _, test := range clientFloods {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cl, p, log := attackedClient(t)
				defer cl.Close()
				turns := p.flood(func(i int) error { return test.send(p, i) })
				if code := <-p.end; code != codeCalm {
					t.Errorf("got GOAWAY %v; want ENHANCE_YOUR_CALM", code)
				}
				checkTurns(t, turns, test.cost)
				synctest.Wait()
				if n := strings.Count(log.String(), "too many useless frames"); n != 1 && !strings.Contains(test.name, "GOAWAY") {
					t.Errorf("got %d lines with the reason; want 1: %s", n, log)
				}
			})
		})
	}
}
