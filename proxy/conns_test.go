package proxy

import (
	"net/http"
	"sync"
	"testing"
	"time"
)

// --conns opens as many sockets as it says, at once and however many first requests
// come, and no more.
func TestConnsAreThatManySockets(t *testing.T) {
	for _, conns := range []int{1, 4} {
		up := startUpstream(t, echoHandler)
		ln := &acceptCounter{Listener: listenTCP(t)}
		back := startBack(t, ln, Config{To: []string{"http://" + up}})
		front, addr := startFront(t, Config{Hop: Hop{Conns: conns}, To: []string{"h2tpc://" + ln.Addr().String()}})
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				resp, err := http.Get("http://" + addr + "/")
				if err != nil {
					t.Error(err)
					return
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("got %d; want 200", resp.StatusCode)
				}
			})
		}
		wg.Wait()
		for began := time.Now(); back.srv.Stats().Conns < conns; {
			if time.Since(began) > patience {
				t.Fatalf("got %d connections; want %d", back.srv.Stats().Conns, conns)
			}
			time.Sleep(time.Millisecond)
		}
		front.Close()
		if n := ln.n.Load(); n != int64(conns) {
			t.Errorf("got %d sockets; want %d", n, conns)
		}
	}
}
