package pool

import (
	"bytes"
	"io"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// eachEnd runs a test with either end, which sends back on stream 1 what it reads
// there, and a scripted peer, whose HEADERS had padding and a priority.
func eachEnd(t *testing.T, settings []http2.Setting, test func(p *scripted)) {
	common := Common{Cleartext: true, Windows: new(Windows)} // windows do not grow
	open := func(p *scripted, fields ...string) {
		p.do("HEADERS", p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, PadLength: 255,
			Priority: http2.PriorityParam{StreamDep: 3, Weight: 7, Exclusive: true}, BlockFragment: p.block(fields...)}))
	}
	t.Run("server", func(t *testing.T) {
		srv, err := NewServer(ServerConfig{Common: common, Accept: echo})
		if err != nil {
			t.Fatal(err)
		}
		ln := listen(t)
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
		p := scriptedClient(t, ln, settings...)
		open(p, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/")
		p.wantHeaderOf(1)
		test(p)
	})
	t.Run("client", func(t *testing.T) {
		ln := listen(t)
		cl, err := NewClient(ClientConfig{Common: common, Addr: ln.Addr().String()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { cl.Close() })
		go func() {
			if s, err := cl.Open(t.Context(), Header{Path: "/"}, nil); err == nil {
				io.Copy(s, s)
				s.CloseWrite()
			}
		}()
		p := scriptedServer(t, ln, settings...)
		p.wantHeaderOf(1)
		open(p, ":status", "200")
		test(p)
	})
}

func (p *scripted) wantHeaderOf(id uint32) {
	p.t.Helper()
	p.want("HEADERS", func(f http2.Frame) bool { return f.Header().Type == http2.FrameHeaders && f.Header().StreamID == id })
}

// RFC 9113 5.5: extensions that this end does not know change nothing, RFC 8441,
// 9218, 8336 and 7838 among them.
func TestWhatIsUnknownIsIgnored(t *testing.T) {
	settings := []http2.Setting{
		{ID: http2.SettingEnableConnectProtocol, Val: 1},
		{ID: 0x9, Val: 1}, // NO_RFC7540_PRIORITIES
		{ID: 0x0a0a, Val: 1<<32 - 1},
		{ID: 0, Val: 7},
	}
	eachEnd(t, settings, func(p *scripted) {
		for range 3 {
			p.do("PRIORITY", p.fr.WritePriority(1, http2.PriorityParam{StreamDep: 5}))
			p.do("PRIORITY of an idle stream", p.fr.WritePriority(99, http2.PriorityParam{}))
			p.do("PRIORITY_UPDATE", p.fr.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x01u=1, i")))
			p.do("PRIORITY_UPDATE of an idle stream", p.fr.WriteRawFrame(0x10, 0, 0, []byte("\x00\x00\x00\x63u=7")))
			p.do("ORIGIN", p.fr.WriteRawFrame(0xc, 0, 0, []byte("\x00\x09https://x")))
			p.do("ALTSVC", p.fr.WriteRawFrame(0xa, 0, 0, []byte("\x00\x09https://xh3=\":443\"")))
			p.do("ALTSVC of a stream", p.fr.WriteRawFrame(0xa, 0, 1, []byte("\x00\x00h3=\":443\"")))
			for _, id := range []uint32{0, 1, 2, 99} {
				p.do("unknown", p.fr.WriteRawFrame(0xbe, 0xff, id, make([]byte, id)))
			}
			p.do("SETTINGS", p.fr.WriteSettings(settings...))
			p.do("DATA", p.fr.WriteData(1, false, []byte("whole")))
			p.wantData(1, "whole")
		}
		p.wantPong()
		p.headers(1, true, "x-trailer", "nobody looks")
		p.want("END_STREAM", func(f http2.Frame) bool {
			d, ok := f.(*http2.DataFrame)
			return ok && d.StreamEnded()
		})
	})
}

// RFC 9113 6.1: padding counts, and its credit comes back.
func TestPaddingCountsInFlowControl(t *testing.T) {
	eachEnd(t, nil, func(p *scripted) {
		const frames, data, pad = 1000, 50, 255
		got, window := 0, leastWindow
		note := func(f http2.Frame) bool {
			switch f := f.(type) {
			case *http2.DataFrame:
				got += len(f.Data())
			case *http2.WindowUpdateFrame:
				if f.StreamID == 1 {
					window += int(f.Increment)
				}
			}
			return true
		}
		for range frames {
			for window < 1+data+pad {
				p.want("credit", note)
			}
			window -= 1 + data + pad
			p.do("DATA", p.fr.WriteDataPadded(1, false, make([]byte, data), make([]byte, pad)))
		}
		for got < frames*data {
			p.want("DATA", note)
		}
		if got != frames*data || window <= leastWindow*3/4 || window > leastWindow {
			p.t.Errorf("got %d bytes, and a window of %d; want %d, and nearly %d", got, window, frames*data, leastWindow)
		}
	})
}

func TestPaddingBeyondTheWindowResetsTheStream(t *testing.T) {
	ln := listen(t)
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: new(Windows)}, Accept: func(s *Stream) { s.Respond(200) }})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	p := scriptedClient(t, ln)
	p.request(1, false)
	for range 4 {
		p.do("DATA", p.fr.WriteData(1, false, make([]byte, leastWindow/4-25)))
	}
	p.wantPong()
	p.do("DATA", p.fr.WriteDataPadded(1, false, []byte("x"), make([]byte, 255))) // 257, where 100 are left
	p.wantReset(1, http2.ErrCodeFlowControl)
}

// A peer without a table, RFC 7541 4.2, is told in the first block that there is
// none, and finds no reference to it; and one that has it again is told that.
func TestPeersTableSizeIsKept(t *testing.T) {
	none := http2.Setting{ID: http2.SettingHeaderTableSize, Val: 0}
	field := Field{Name: "x-repeated", Value: "a value that is worth a place in a table"}
	test := func(p *scripted, next func(i int)) {
		p.fr.ReadMetaHeaders = nil
		strict := hpack.NewDecoder(0, nil)
		var blocks [5][]byte
		for i := range blocks {
			if i == 3 {
				p.do("SETTINGS", p.fr.WriteSettings(http2.Setting{ID: none.ID, Val: 4096}))
				p.wantPong()
				strict.SetAllowedMaxDynamicTableSize(4096)
			}
			next(i)
			p.want("HEADERS", func(f http2.Frame) bool {
				h, ok := f.(*http2.HeadersFrame)
				if ok {
					blocks[i] = bytes.Clone(h.HeaderBlockFragment())
				}
				return ok
			})
			got, err := strict.DecodeFull(blocks[i])
			if err != nil || got[len(got)-1] != (hpack.HeaderField{Name: field.Name, Value: field.Value}) {
				p.t.Fatalf("block %d, %x: got %v, %v; want %v at its end", i, blocks[i], got, err, field)
			}
		}
		if blocks[0][0] != 0x20 || blocks[1][0]>>5 == 1 || !bytes.HasPrefix(blocks[3], []byte{0x3f, 0xe1, 0x1f}) {
			p.t.Errorf("got %x; want size updates to 0 in the first and to 4096 in the fourth", blocks)
		}
		if len(blocks[4]) >= len(blocks[3])/2 {
			p.t.Errorf("got %x after %x; want references", blocks[4], blocks[3])
		}
	}
	t.Run("server", func(t *testing.T) {
		ln := listen(t)
		startServer(t, ln, func(s *Stream) { s.Respond(200, field) })
		p := scriptedClient(t, ln, none)
		test(p, func(i int) { p.request(uint32(2*i+1), true) })
	})
	t.Run("client", func(t *testing.T) {
		ln := listen(t)
		cl := startClient(t, ln)
		p := scriptedServer(t, ln, none)
		test(p, func(int) { go cl.Open(t.Context(), Header{Path: "/", Fields: []Field{field}}, nil) })
	})
}
