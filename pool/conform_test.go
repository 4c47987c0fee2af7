package pool

import (
	"io"
	"testing"

	"golang.org/x/net/http2"
)

func TestFrameOnAStreamItsSenderEndedIsAnError(t *testing.T) {
	for _, test := range []struct {
		name string
		send func(p *scripted)
		code Code
	}{
		{"DATA after END_STREAM", func(p *scripted) {
			p.request(1, true)
			p.wantData(1, "no\n")
			p.do("DATA", p.fr.WriteData(1, true, []byte("late")))
		}, http2.ErrCodeStreamClosed},
		{"DATA after RST_STREAM", func(p *scripted) {
			p.request(1, false)
			p.do("RST_STREAM", p.fr.WriteRSTStream(1, http2.ErrCodeCancel))
			p.do("DATA", p.fr.WriteData(1, true, []byte("late")))
		}, http2.ErrCodeStreamClosed},
		{"trailers after END_STREAM", func(p *scripted) {
			p.request(1, true)
			p.wantData(1, "no\n")
			p.headers(1, true, "x", "y")
		}, http2.ErrCodeStreamClosed},
		{"request on a lower stream", func(p *scripted) {
			p.request(5, true)
			p.request(3, true)
		}, http2.ErrCodeStreamClosed},
		{"trailers that end nothing", func(p *scripted) {
			p.request(1, false)
			p.do("DATA", p.fr.WriteData(1, false, make([]byte, 16384)))
			p.do("DATA", p.fr.WriteData(1, false, make([]byte, 16384)))
			p.do("DATA", p.fr.WriteData(1, false, make([]byte, 16384)))
			p.wantReset(1, http2.ErrCodeNo)
			p.headers(1, false, "x", "y")
		}, http2.ErrCodeProtocol},
		{"stream that depends on itself", func(p *scripted) {
			p.do("PRIORITY", p.fr.WritePriority(1, http2.PriorityParam{StreamDep: 1}))
		}, http2.ErrCodeProtocol},
	} {
		t.Run(test.name, func(t *testing.T) {
			ln := listen(t)
			startServer(t, ln, func(s *Stream) { s.Refuse(404, "no\n") })
			p := scriptedClient(t, ln)
			test.send(p)
			p.wantGoAway(test.code)
		})
	}
}

func TestFramesUnderWayToAStreamThisEndEndedAreIgnored(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) {
		if s.ID() == 3 {
			echo(s)
			return
		}
		s.Reset(http2.ErrCodeRefusedStream)
	})
	p := scriptedClient(t, ln)
	p.request(1, false)
	p.wantReset(1, http2.ErrCodeRefusedStream)
	p.do("DATA", p.fr.WriteData(1, false, []byte("late")))
	p.headers(1, true, "x-sum", "1")
	p.request(3, false)
	p.do("DATA", p.fr.WriteData(3, true, []byte("alive")))
	p.wantData(3, "alive")
}

// There are clients that lose the answer when RST_STREAM NO_ERROR follows it.
func TestRefusalTakesTheRestOfASmallRequest(t *testing.T) {
	ln := listen(t)
	srv := startServer(t, ln, func(s *Stream) { s.Refuse(404, "no\n") })
	p := scriptedClient(t, ln)
	p.request(1, false)
	p.wantData(1, "no\n")
	p.do("DATA", p.fr.WriteData(1, false, []byte("some")))
	p.do("DATA", p.fr.WriteData(1, true, []byte(" more")))
	p.fr.WritePing(false, [8]byte{1})
	p.want("the answer to PING, and no RST_STREAM", func(f http2.Frame) bool {
		if _, ok := f.(*http2.RSTStreamFrame); ok {
			t.Error("got RST_STREAM")
		}
		_, ok := f.(*http2.PingFrame)
		return ok
	})
	if n := srv.Stats().Streams; n != 0 {
		t.Errorf("got %d streams open; want 0", n)
	}
	p.request(3, false)
	p.wantData(3, "no\n")
	for range 3 {
		p.do("DATA", p.fr.WriteData(3, false, make([]byte, 16384)))
	}
	p.wantReset(3, http2.ErrCodeNo)
	for id := range uint32(maxRefused) {
		p.request(5+2*id, false)
		p.wantData(5+2*id, "no\n")
	}
	p.request(99, false) // too many wait for a rest that does not come
	p.wantReset(99, http2.ErrCodeNo)
	p.do("RST_STREAM", p.fr.WriteRSTStream(7, http2.ErrCodeCancel))
	p.request(101, false)
	p.wantData(101, "no\n")
	if n := srv.Stats().Streams; n != maxRefused {
		t.Errorf("got %d streams open; want %d", n, maxRefused)
	}
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(t.Context()) }()
	p.wantReset(5, http2.ErrCodeNo) // draining waits for no request that was refused
	p.nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// nginx answers 502 in place of an answer that a reset with another code follows.
func TestCloseAfterTheAnswerIsNoError(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) {
		s.Respond(200)
		go s.Close()
	})
	p := scriptedClient(t, ln)
	p.request(1, false)
	p.want("END_STREAM", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamEnded()
	})
	p.wantReset(1, http2.ErrCodeNo)
}

func TestRefusalWaitsForTheStreamsWindow(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) { s.Refuse(404, "not here\n") })
	p := scriptedClient(t, ln, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
	p.request(1, true)
	p.request(3, false)
	p.wantPong()
	p.do("SETTINGS", p.fr.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 3}))
	p.wantData(1, "not")
	p.do("DATA", p.fr.WriteData(3, true, nil)) // the text is owed all the same
	p.wantPong()
	p.do("WINDOW_UPDATE", p.fr.WriteWindowUpdate(1, 100))
	p.wantData(1, " here\n")
	p.do("WINDOW_UPDATE", p.fr.WriteWindowUpdate(3, 100))
	p.want("END_STREAM of 3", func(f http2.Frame) bool {
		d, ok := f.(*http2.DataFrame)
		return ok && d.StreamID == 3 && d.StreamEnded()
	})
	p.wantPong()
}

// The response to a stream that the client has given up crosses its RST_STREAM.
func TestLateResponseIsIgnored(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	cl := startClient(t, ln)
	s := make(chan error, 2)
	open := func() {
		_, err := cl.Open(t.Context(), Header{Path: "/"}, resetAtOnce{newSink()})
		s <- err
	}
	go open()
	p := scriptedServer(t, ln)
	isHeaders := func(f http2.Frame) bool { _, ok := f.(*http2.MetaHeadersFrame); return ok }
	p.want("a request", isHeaders)
	p.headers(1, false, ":status", "200")
	p.wantReset(1, http2.ErrCodeProtocol)
	<-s
	p.headers(1, false, ":status", "200")
	p.do("DATA", p.fr.WriteData(1, false, []byte("late")))
	p.headers(1, true, "x", "y")
	p.wantPong()
}

type resetAtOnce struct{ *sink }

func (resetAtOnce) Opened(*Stream) error { return io.ErrUnexpectedEOF }
