package pool

import (
	"bytes"
	"io"
	"net"
	"path/filepath"
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
