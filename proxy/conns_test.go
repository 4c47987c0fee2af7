package proxy

import (
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// --conns opens as many sockets as it says, at once and however many first requests
// come, and no more.
func TestConnsAreThatManySockets(t *testing.T) {
	for _, conns := range []int{0, 1, 4} {
		up := startUpstream(t, echoHandler)
		ln := &acceptCounter{Listener: listenTCP(t)}
		back := startBack(t, ln, Config{To: []string{"http://" + up}})
		front, addr := startFront(t, Config{Hop: Hop{Conns: conns}, To: []string{"h2tpc://" + ln.Addr().String()}})
		if conns == 0 {
			conns = 2 // the default
		}
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

// A connection that an intermediary does not read, because of one body, has no batches.
func TestBatchesHaveAConnectionToThemselves(t *testing.T) {
	goc := make(chan struct{})
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "begun")
		http.NewResponseController(w).Flush()
		<-goc
	})
	ln := listenTCP(t)
	startBack(t, ln, Config{To: []string{"http://" + up}})
	front, addr := startFront(t, Config{Hop: Hop{Conns: 3}, To: []string{"h2tpc://" + ln.Addr().String()}})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(goc)
	for range 6 {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		})
	}
	p := front.route.dests()[0].(*peer)
	if st := p.client.Stats(); st.Conns != 1 || st.Streams != 1 {
		t.Errorf("batches: got %d connections with %d streams; want 1 with 1", st.Conns, st.Streams)
	}
	if st := p.bulk.Stats(); st.Conns != 2 || st.Streams < 6 {
		t.Errorf("bodies: got %d connections with %d streams; want 2 with 6 or more", st.Conns, st.Streams)
	}
}
