//go:build unix && !h2tp_portable

package rawconn

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pair gives two ends of one connection, the first of them wrapped.
func pair(t testing.TB, network string) (*Conn, net.Conn) {
	t.Helper()
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "s")
	}
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err := net.Dial(network, ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	deadline := time.Now().Add(20 * time.Second) // a bound on a test that hangs
	a.SetDeadline(deadline)
	b.SetDeadline(deadline)
	c, ok := Wrap(a).(*Conn)
	if !ok {
		t.Fatalf("Wrap(%T) did not wrap", a)
	}
	return c, b
}

func onBoth(t *testing.T, f func(t *testing.T, c *Conn, peer net.Conn)) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run("net="+network, func(t *testing.T) {
			c, peer := pair(t, network)
			f(t, c, peer)
		})
	}
}

func mustWrite(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := c.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
}

// await blocks in the poller, without reading, until the conn has something to read.
func await(t testing.TB, c *Conn) {
	t.Helper()
	err := c.raw.Read(func(fd uintptr) bool {
		_, errno := peek(fd, make([]byte, 1))
		return errno != syscall.EAGAIN
	})
	if err != nil {
		t.Fatal(err)
	}
}

// lender is a Buffers with one buffer.
type lender struct {
	buf  []byte
	out  int
	most int
}

func (l *lender) Acquire() []byte { l.out++; l.most = max(l.most, l.out); return l.buf }
func (l *lender) Release()        { l.out-- }

func TestEchoOfManyBytesArrivesWhole(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		sent := make([]byte, 3<<20)
		rand.Read(sent)
		var wg sync.WaitGroup
		wg.Go(func() { io.Copy(peer, peer) })
		wg.Go(func() {
			if n, err := c.Write(sent); n != len(sent) || err != nil {
				t.Errorf("Write = %d, %v; want all", n, err)
			}
			c.CloseWrite()
		})
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, sent) {
			t.Fatal("the echo differs")
		}
		peer.Close()
		if n, err := c.Read(got); n != 0 || err != io.EOF {
			t.Fatalf("Read at the end = %d, %v; want 0, EOF", n, err)
		}
		wg.Wait()
	})
}

func TestConcurrentWritesAreNotMixed(t *testing.T) {
	c, peer := pair(t, "tcp")
	const size, writers = 400 << 10, 4
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() { c.Write(bytes.Repeat([]byte{'a' + byte(i)}, size)) })
	}
	got := make([]byte, size*writers)
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	for part := range writers {
		p := got[part*size : (part+1)*size]
		if !bytes.Equal(p, bytes.Repeat(p[:1], size)) {
			t.Fatalf("part %d holds bytes of several writers", part)
		}
	}
	wg.Wait()
}

func TestDeadlinesEndReadAndWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		l := &lender{buf: make([]byte, 8)}
		_, err := c.ReadInto(l)
		wantTimeout(t, err, "read")
		if l.out != 0 {
			t.Errorf("%d buffers held after a read that timed out; want 0", l.out)
		}
		c.SetReadDeadline(time.Time{})
		mustWrite(t, peer, "late")
		if n, err := c.Read(make([]byte, 8)); n != 4 || err != nil {
			t.Fatalf("Read after a deadline was lifted = %d, %v; want 4, nil", n, err)
		}
		large := make([]byte, 64<<20) // made first: it may take longer than the deadline
		c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		n, err := c.Write(large)
		wantTimeout(t, err, "write")
		if n == 0 || n == len(large) {
			t.Errorf("a write that timed out wrote %d bytes; want a part", n)
		}
	})
}

func wantTimeout(t *testing.T, err error, op string) {
	t.Helper()
	oe, ok := errors.AsType[*net.OpError](err)
	if !ok || oe.Op != op || !oe.Timeout() || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("got %#v; want a *net.OpError of %s that is a timeout", err, op)
	}
}

func TestCloseEndsWaitingReadAndWrite(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		errc := make(chan error, 2)
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := c.Read(make([]byte, 8))
			errc <- err
		})
		wg.Go(func() {
			_, err := c.Write(make([]byte, 64<<20))
			errc <- err
		})
		io.ReadFull(peer, make([]byte, 1<<10)) // both are under way, or will find the conn closed
		c.Close()
		wg.Wait()
		for range 2 {
			if err := <-errc; !errors.Is(err, net.ErrClosed) {
				t.Errorf("got %v; want net.ErrClosed", err)
			}
		}
		if got := c.Peek(); got != Gone {
			t.Errorf("Peek of a closed conn = %v; want gone", got)
		}
		if _, err := c.TryWrite([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("TryWrite on a closed conn = %v; want net.ErrClosed", err)
		}
	})
}

func TestTryWriteFillsTheSocketAndResumes(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		sent := make([]byte, 32<<20)
		rand.Read(sent)
		n, err := c.TryWrite(sent)
		if n == 0 || n == len(sent) || err != nil {
			t.Fatalf("TryWrite = %d, %v; want a part and nil", n, err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { c.Write(sent[n:]) })
		got := make([]byte, len(sent))
		if _, err := io.ReadFull(peer, got); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if !bytes.Equal(got, sent) {
			t.Fatal("bytes lost or repeated between TryWrite and Write")
		}
		if n, err := c.TryWrite(sent[:100]); n != 100 || err != nil {
			t.Fatalf("TryWrite into an empty socket = %d, %v; want 100, nil", n, err)
		}
	})
}

func TestTryWriteDoesNotWaitForWrite(t *testing.T) {
	c, _ := pair(t, "tcp")
	c.wmu.Lock() // as a Write that waits does
	defer c.wmu.Unlock()
	if n, err := c.TryWrite([]byte("x")); n != 0 || err != nil {
		t.Fatalf("TryWrite beside a Write = %d, %v; want 0, nil", n, err)
	}
}

func TestEOFInTheSameEventAsDataIsNotLost(t *testing.T) {
	onBoth(t, func(t *testing.T, _ *Conn, _ net.Conn) {
		network := t.Name()[strings.LastIndexByte(t.Name(), '=')+1:]
		for round := range 50 {
			c, peer := pair(t, network)
			c.SetDeadline(time.Now().Add(5 * time.Second))
			var wg sync.WaitGroup
			wg.Go(func() { // in the poller before the data comes, in most rounds
				l := &lender{buf: make([]byte, 64)}
				if n, err := c.ReadInto(l); n != 4 || err != nil {
					t.Errorf("round %d: ReadInto = %d, %v; want 4, nil", round, n, err)
				}
				if n, err := c.ReadInto(l); n != 0 || err != io.EOF {
					t.Errorf("round %d: ReadInto after the end = %d, %v; want EOF", round, n, err)
				}
				if l.out != 1 || l.most > 2 {
					t.Errorf("round %d: %d buffers held after data and EOF; want 1", round, l.out)
				}
			})
			mustWrite(t, peer, "last")
			peer.Close()
			wg.Wait()
			c.Close()
		}
	})
}

func TestPeekTellsTheThreeStates(t *testing.T) {
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		if got := c.Peek(); got != Quiet {
			t.Errorf("Peek of an idle conn = %v; want quiet", got)
		}
		mustWrite(t, peer, "x")
		await(t, c)
		for range 2 {
			if got := c.Peek(); got != Pending {
				t.Errorf("Peek with a byte waiting = %v; want pending", got)
			}
		}
		if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Fatalf("Read = %d, %v; want the byte peeked at", n, err)
		}
		peer.Close()
		await(t, c)
		if got := c.Peek(); got != Gone {
			t.Errorf("Peek after the other end closed = %v; want gone", got)
		}
	})
}

func TestPeekSeesAReset(t *testing.T) {
	c, peer := pair(t, "tcp")
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	await(t, c)
	if got := c.Peek(); got != Gone {
		t.Errorf("Peek after a reset = %v; want gone", got)
	}
}

func TestAnEndBehindUnreadBytesIsSeen(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("unread bytes hide the end")
	}
	onBoth(t, func(t *testing.T, c *Conn, peer net.Conn) {
		mustWrite(t, peer, "x")
		await(t, c)
		if c.HasEnded() {
			t.Error("HasEnded of an open conn = true")
		}
		peer.(interface{ CloseWrite() error }).CloseWrite()
		for range 2 {
			if !c.HasEnded() {
				t.Error("HasEnded after the other end ended its side = false")
			}
		}
		if n, err := c.Read(make([]byte, 8)); n != 1 || err != nil {
			t.Errorf("Read = %d, %v; want the byte before the end", n, err)
		}
		c.Close()
		if !c.HasEnded() {
			t.Error("HasEnded of a closed conn = false")
		}
	})
	c, peer := pair(t, "tcp")
	mustWrite(t, peer, "x")
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	await(t, c)
	if !c.HasEnded() {
		t.Error("HasEnded after a reset = false")
	}
}

func TestPeekBesideAReader(t *testing.T) {
	c, peer := pair(t, "tcp")
	var wg sync.WaitGroup
	wg.Go(func() {
		if n, err := c.Read(make([]byte, 8)); n != 2 || err != nil {
			t.Errorf("Read = %d, %v; want 2, nil", n, err)
		}
	})
	for range 100 {
		if got := c.Peek(); got != Quiet {
			t.Errorf("Peek = %v; want quiet", got)
		}
	}
	mustWrite(t, peer, "ok")
	wg.Wait()
}

func TestErrorsAreNamedAsInPackageNet(t *testing.T) {
	c, peer := pair(t, "tcp")
	peer.(*net.TCPConn).SetLinger(0)
	peer.Close()
	_, err := c.Read(make([]byte, 8))
	oe, ok := errors.AsType[*net.OpError](err)
	if !ok || oe.Op != "read" || oe.Net != "tcp" || !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("Read after a reset: %v; want a read *net.OpError of ECONNRESET", err)
	}
	_, err = c.Write([]byte("x"))
	if oe, ok = errors.AsType[*net.OpError](err); !ok || oe.Op != "write" || !errors.Is(err, syscall.EPIPE) {
		t.Errorf("Write after a reset: %v; want a write *net.OpError of EPIPE", err)
	}
}

func TestWrapLeavesOtherConnsAlone(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	for _, nc := range []net.Conn{a, tls.Client(a, &tls.Config{}), datagram} {
		if got := Wrap(nc); got != nc {
			t.Errorf("Wrap(%T) = %T; want it unchanged", nc, got)
		}
	}
	c, _ := pair(t, "tcp")
	if got := Wrap(c); got != net.Conn(c) {
		t.Errorf("Wrap of a wrapped conn = %T; want it unchanged", got)
	}
}
