package pool

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
	"syscall"
	"testing"
)

// The counts are the kernel's: what one end sent the other received, nothing is counted twice when a connection ends,
// and nothing is lost.
func TestWireIsWhatTheKernelCounted(t *testing.T) {
	ln := listen(t)
	s := startServer(t, ln, echo)
	c := startClient(t, ln)
	const n = 300_000
	st, err := c.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		st.Write(bytes.Repeat([]byte("x"), n))
		st.CloseWrite()
	}()
	if got, err := io.ReadAll(st); len(got) != n || err != nil {
		t.Fatal(len(got), err)
	}
	open := c.Stats()
	w := open.Wire
	if w.BytesOut < n || w.BytesIn < n || w.PacketsIn == 0 || w.PacketsOut == 0 || w.RoundTrip <= 0 || w.BytesAgain > w.BytesOut {
		t.Errorf("open: got %+v; want more than %d both ways", w, n)
	}
	c.Close()
	s.Close()
	a, b := c.Stats().Wire, s.Stats().Wire
	for _, w := range []WireStats{a, b} {
		if w.BytesOut < n || w.BytesOut-w.BytesAgain > n+n/10 || w.BytesIn < n || w.BytesIn > n+n/10 || w.RoundTrip != 0 {
			t.Errorf("closed: got %+v; want a little more than %d", w, n)
		}
	}
	if a.BytesIn < w.BytesIn || a.BytesOut < w.BytesOut {
		t.Errorf("got %+v after the end, %+v before", a, w)
	}
}

// What has no socket, or one that is no TCP, is not counted.
func TestWireOfOtherConnsIsNothing(t *testing.T) {
	cl, _ := pair(t, ServerConfig{Accept: echo}, ClientConfig{})
	s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	io.Copy(io.Discard, s)
	if w := cl.Stats().Wire; w != (WireStats{}) {
		t.Errorf("a pipe: got %+v", w)
	}
	ln, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	nc, err := net.Dial("unix", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if w, ok := wireOf(socketOf(nc)); ok {
		t.Errorf("a unix socket: got %+v", w)
	}
}

// What has gone is what the peer's kernel has, whether or not anybody reads it; the rest is in the socket.
func TestWhatHasGoneIsTheKernelsToSay(t *testing.T) {
	ln := listen(t)
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer far.Close()
	socket := socketOf(near)
	at, _, ok := goneOf(socket)
	if !ok {
		t.Skip("the kernel does not count what has gone")
	}
	const n = 10_000
	near.Write(make([]byte, n))
	io.ReadFull(far, make([]byte, n))
	far.Write([]byte("x")) // with it comes that all was received
	near.Read(make([]byte, 1))
	if gone, held, _ := goneOf(socket); gone != at+n || held != 0 {
		t.Errorf("read: got %d gone and %d held; want %d and 0", gone-at, held, n)
	}
	far.(*net.TCPConn).SetReadBuffer(16 << 10)
	near.(*net.TCPConn).SetWriteBuffer(256 << 10)
	full := 0
	socket.Write(func(fd uintptr) bool {
		for p := make([]byte, 16<<10); ; {
			n, err := syscall.Write(int(fd), p)
			if err == syscall.EINTR {
				continue
			} else if err != nil {
				return true
			}
			full += n
		}
	})
	gone, held, _ := goneOf(socket)
	if held == 0 || gone-at+held < n+int64(full) {
		t.Errorf("%d more that are not read: got %d gone and %d held; want some held, and all together", full, gone-at, held)
	}
	near.Close()
	if _, _, ok := goneOf(socket); ok {
		t.Error("a closed socket tells")
	}
}
