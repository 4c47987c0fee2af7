package pool

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// scripted is a peer that sends frames as told, whatever HTTP/2 says of them.
type scripted struct {
	t   testing.TB
	nc  net.Conn
	fr  *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
}

func newScripted(t testing.TB, nc net.Conn) *scripted {
	t.Helper()
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	p := &scripted{t: t, nc: nc, fr: http2.NewFramer(nc, nc)}
	p.fr.AllowIllegalWrites = true
	p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	p.enc = hpack.NewEncoder(&p.buf)
	return p
}

// scriptedClient is connected to the server at ln, with its preface sent.
func scriptedClient(t testing.TB, ln net.Listener, settings ...http2.Setting) *scripted {
	t.Helper()
	nc, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := newScripted(t, nc)
	p.do("preface", func() error { _, err := io.WriteString(nc, http2.ClientPreface); return err }())
	p.do("SETTINGS", p.fr.WriteSettings(settings...))
	return p
}

// scriptedServer is what the next client at ln finds, with its SETTINGS sent.
func scriptedServer(t testing.TB, ln net.Listener, settings ...http2.Setting) *scripted {
	t.Helper()
	nc, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	p := newScripted(t, nc)
	preface := make([]byte, len(http2.ClientPreface))
	_, err = io.ReadFull(nc, preface)
	p.do("the client's preface", err)
	p.do("SETTINGS", p.fr.WriteSettings(settings...))
	return p
}

func (p *scripted) do(what string, err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatalf("%s: %v", what, err)
	}
}

func (p *scripted) block(fields ...string) []byte {
	p.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(p.buf.Bytes())
}

func (p *scripted) headers(id uint32, end bool, fields ...string) {
	p.t.Helper()
	p.do("HEADERS", p.fr.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, BlockFragment: p.block(fields...), EndHeaders: true, EndStream: end}))
}

func (p *scripted) request(id uint32, end bool) {
	p.t.Helper()
	p.headers(id, end, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/")
}

// want reads up to a frame that is as described, and fails at the connection's end.
func (p *scripted) want(what string, is func(http2.Frame) bool) {
	p.t.Helper()
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			p.t.Fatalf("%s: got %v before it", what, err)
		}
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			p.do("ACK", p.fr.WriteSettingsAck())
		}
		if is(f) {
			return
		}
	}
}

func (p *scripted) wantData(id uint32, want string) {
	p.t.Helper()
	for got := ""; got != want; {
		p.want("DATA "+want, func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			if ok && d.StreamID == id {
				got += string(d.Data())
			}
			return ok && d.StreamID == id
		})
		if len(got) > len(want) {
			p.t.Fatalf("got DATA %q; want %q", got, want)
		}
	}
}

func (p *scripted) wantReset(id uint32, code Code) {
	p.t.Helper()
	p.want("RST_STREAM "+code.String(), func(f http2.Frame) bool {
		r, ok := f.(*http2.RSTStreamFrame)
		return ok && r.StreamID == id && r.ErrCode == code
	})
}

func (p *scripted) wantGoAway(code Code) {
	p.t.Helper()
	p.want("GOAWAY "+code.String(), func(f http2.Frame) bool {
		g, ok := f.(*http2.GoAwayFrame)
		return ok && g.ErrCode == code
	})
}

// wantPong sees that the peer has handled all that was sent, and lives.
func (p *scripted) wantPong() {
	p.t.Helper()
	p.do("PING", p.fr.WritePing(false, [8]byte{1}))
	p.want("the answer to PING", func(f http2.Frame) bool {
		g, ok := f.(*http2.PingFrame)
		return ok && g.IsAck()
	})
}
