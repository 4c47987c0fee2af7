package pool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// stormStreams is how many streams the cancel storm opens: POOL_STORM, or 10,000.
func stormStreams(t *testing.T) int {
	v := os.Getenv("POOL_STORM")
	if v == "" {
		return 10_000
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// heapInUse is what a full collection leaves.
func heapInUse() int64 {
	var m runtime.MemStats
	for range 3 { // pools let go of what they hold in the second
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// storm opens n streams from many goroutines and gives each up in one of the ways
// there are, most of them while its header section, bytes or credit are under way.
func storm(t *testing.T, cl *Client, n int) {
	var next atomic.Int64
	var wg sync.WaitGroup
	piece := make([]byte, 3000)
	for range 64 {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				ctx, cancel := context.WithCancel(context.Background())
				if i%3 == 0 {
					time.AfterFunc(time.Duration(i%7)*100*time.Microsecond, cancel)
				}
				s, err := cl.Open(ctx, Header{Path: "/"}, nil)
				if err != nil {
					if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
					cancel()
					continue
				}
				s.SetDeadline(time.Now().Add(time.Hour)) // a timer to be left behind
				s.Write(piece)
				switch i % 4 {
				case 0:
					s.Reset(0x8)
				case 1:
					s.Read(piece)
					s.Close()
				default:
					s.Close()
				}
				cancel()
			}
		})
	}
	wg.Wait()
}

// After a storm of cancelled streams both ends hold what they held before, and
// after Close no goroutine of theirs is left, and no window, timer or buffer.
func TestNothingIsLeftAfterACancelStorm(t *testing.T) {
	win := [2]*Windows{NewWindows(0), NewWindows(0)}
	srv, err := NewServer(ServerConfig{Common: Common{Cleartext: true, Windows: win[0]}, Accept: echo})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	cl, err := NewClient(ClientConfig{Common: Common{Cleartext: true, Windows: win[1]}, Addr: ln.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	storm(t, cl, 2000) // what pools, maps and the kernel's buffers grow to
	quiet(t, cl, srv)
	before := heapInUse()
	n := stormStreams(t)
	began := time.Now()
	storm(t, cl, n)
	took := time.Since(began)
	quiet(t, cl, srv)
	after := heapInUse()
	t.Logf("%d streams in %v: heap %d KiB before, %d KiB after", n, took.Round(time.Millisecond), before>>10, after>>10)
	if after-before > 2<<20 {
		t.Errorf("the heap grew by %d KiB", (after-before)>>10)
	}
	for i, w := range win {
		if w.Used() != 0 {
			t.Errorf("end %d: %d bytes of windows are still counted", i, w.Used())
		}
	}
	cl.Close()
	srv.Close()
	<-served
	wantNoGoroutine(t)
}

// quiet returns when no stream is open at either end.
func quiet(t *testing.T, cl *Client, srv *Server) {
	t.Helper()
	for began := time.Now(); cl.Stats().Streams+srv.Stats().Streams > 0; runtime.Gosched() {
		if time.Since(began) > 20*time.Second {
			t.Fatalf("streams are left: %+v, %+v", cl.Stats(), srv.Stats())
		}
	}
}

// wantNoGoroutine fails when a goroutine of this package is left, and when the leak
// profile has one (GOEXPERIMENT=goroutineleakprofile).
func wantNoGoroutine(t *testing.T) {
	t.Helper()
	for began := time.Now(); ; runtime.Gosched() { // the echoes end a little after their streams
		left := ours()
		if left == "" {
			break
		}
		if time.Since(began) > 20*time.Second {
			t.Fatalf("goroutines are left:\n%s", left)
		}
	}
	if p := pprof.Lookup("goroutineleak"); p != nil {
		var text bytes.Buffer
		p.WriteTo(&text, 1)
		t.Logf("leak profile: %d goroutines", p.Count())
		if p.Count() > 0 {
			t.Errorf("leaked goroutines:\n%s", text.String())
		}
	}
}

// ours returns the stacks that are in this package's code and not in a test.
func ours() string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	var left []string
	for stack := range strings.SplitSeq(string(buf), "\n\n") {
		if strings.Contains(stack, "/pool.(*") && !strings.Contains(stack, "/pool.Test") && !strings.Contains(stack, "/pool.ours") {
			left = append(left, stack)
		}
	}
	return strings.Join(left, "\n\n")
}
