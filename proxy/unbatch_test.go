package proxy

import (
	"io"
	"net/http"
	"testing"

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
