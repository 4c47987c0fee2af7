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
		s.Refuse(404, "no\n")
	})
	p := scriptedClient(t, ln)
	p.request(1, false)
	p.wantReset(1, http2.ErrCodeNo)
	p.do("DATA", p.fr.WriteData(1, false, []byte("late")))
	p.headers(1, true, "x-sum", "1")
	p.request(3, false)
	p.do("DATA", p.fr.WriteData(3, true, []byte("alive")))
	p.wantData(3, "alive")
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
