package pool

import (
	"io"
	"testing"
	"testing/synctest"

	"golang.org/x/net/http2"
)

// The last response is in the buffer, and another goroutine in a write, when
// draining ends the connection.
func TestDrainWritesWhatIsBuffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv := startServer(t, ln, func(s *Stream) { s.Respond(200); s.CloseWrite() })
		nc, err := ln.dial(t.Context(), "", "")
		if err != nil {
			t.Fatal(err)
		}
		p := newScripted(t, nc)
		p.do("preface", func() error { _, err := io.WriteString(nc, http2.ClientPreface); return err }())
		p.do("SETTINGS", p.fr.WriteSettings())
		synctest.Wait() // the server is in its first write, which nobody reads
		p.request(1, true)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- srv.Shutdown(t.Context()) }()
		synctest.Wait()
		p.fr.ReadMetaHeaders = nil
		var last uint32
		p.want("GOAWAY", func(f http2.Frame) bool {
			if d, ok := f.(*http2.DataFrame); ok && d.StreamEnded() {
				last = d.StreamID
			}
			_, ok := f.(*http2.GoAwayFrame)
			return ok
		})
		if last != 1 {
			t.Error("GOAWAY without the response before it")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What the peer sends meanwhile is read: unread, it would make the socket's end a
// reset, which takes with it what the peer has not received.
func TestDrainedConnectionEndsWithoutReset(t *testing.T) {
	ln := listen(t)
	srv := startServer(t, ln, func(s *Stream) { s.Respond(200); s.CloseWrite() })
	p := scriptedClient(t, ln)
	p.request(1, true)
	p.wantPong()
	done := make(chan error, 1)
	go func() { done <- srv.Shutdown(t.Context()) }()
	p.wantGoAway(http2.ErrCodeNo)
	for range 100 {
		p.fr.WritePing(false, [8]byte{2})
	}
	if _, err := io.Copy(io.Discard, p.nc); err != nil {
		t.Error(err)
	}
	p.nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
