package pool

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// countedConn counts the writes to it.
type countedConn struct {
	net.Conn
	writes int
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes++
	return c.Conn.Write(p)
}

// recordPair is a TLS connection over a pipe, with records below its client's end.
func recordPair(t *testing.T) (tc *tls.Conn, r *records, socket *countedConn, far *tls.Conn) {
	ca := newAuthority()
	a, b := net.Pipe()
	socket = &countedConn{Conn: a}
	r = &records{Conn: socket}
	tc = tls.Client(r, &tls.Config{RootCAs: ca.pool, ServerName: "127.0.0.1"})
	far = tls.Server(b, &tls.Config{Certificates: []tls.Certificate{ca.issue("127.0.0.1")}, SessionTicketsDisabled: true})
	errc := make(chan error, 1)
	go func() { errc <- far.Handshake() }()
	if err := tc.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	return tc, r, socket, far
}

func TestRecordsOfALargeWriteGoTogether(t *testing.T) {
	tc, r, socket, far := recordPair(t)
	defer tc.Close()
	defer far.Close()
	for _, size := range []int{512 << 10, 100, 64 << 10, 1 << 20} {
		sent, got := make([]byte, size), make([]byte, size)
		rand.Read(sent)
		socket.writes = 0
		done := make(chan error, 1)
		go func() {
			_, err := r.writeThrough(tc, sent)
			done <- err
		}()
		if _, err := io.ReadFull(far, got); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || !bytes.Equal(got, sent) {
			t.Errorf("%d bytes: got %v, equal: %v", size, err, bytes.Equal(got, sent))
		}
		if most := size/(holdRecords-maxRecord) + 1; socket.writes > most {
			t.Errorf("%d bytes: %d writes to the socket; want at most %d", size, socket.writes, most)
		}
	}
}

// Who closes does not wait for a socket that takes nothing.
func TestCloseBehindHeldRecordsDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tc, r, _, far := recordPair(t)
		done := make(chan error, 1)
		go func() {
			_, err := r.writeThrough(tc, make([]byte, 64<<10))
			done <- err
		}()
		synctest.Wait() // TLS has written all to r; the socket takes nothing
		began := time.Now()
		tc.Close()
		if err := <-done; err == nil {
			t.Error("a write to a closed connection went well")
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("took %v; want nothing", took)
		}
		far.Close()
	})
}
