package proxy

import (
	"io"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
)

// What a back, or what stands before it, says to a batched stream it refuses is no
// batch, whatever its parts are.
func TestTextOfARefusalIsNoBatch(t *testing.T) {
	ln := listenTCP(t)
	srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
		s.Respond(503)
		go func() {
			for range 3 {
				io.WriteString(s, "not now")
			}
			s.CloseWrite()
		}()
	}})
	if err != nil {
		t.Fatal(err)
	}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + ln.Addr().String()}})
	for range 3 {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 502 && resp.StatusCode != 503 {
			t.Errorf("got %d; want 502 or 503", resp.StatusCode)
		}
	}
}

// The end of a stream and a look for what is idle may meet.
func TestUnbatcherIsReleasedWhileItIsLookedAt(t *testing.T) {
	mem := compress.NewMemory(1 << 26)
	for range 50 {
		u := new(unbatcher)
		u.prepare(mem, 1<<10)
		var looks atomic.Int64
		var isReleased atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			for !isReleased.Load() {
				u.releaseIdle()
				looks.Add(1)
			}
		})
		for looks.Load() < 10 {
			runtime.Gosched()
		}
		u.release()
		isReleased.Store(true)
		wg.Wait()
		if n := mem.Used(); n != 0 {
			t.Fatalf("%d bytes held", n)
		}
	}
}
