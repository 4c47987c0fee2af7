package proxy

import (
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// What speaks HTTP/2 and is no back is told of with what it did, once until it is a back; exchanges say nothing of it but 502.
func TestPeerThatIsNoBackIsToldOnce(t *testing.T) {
	back := append(ownTerms().fields(), pool.Field{Name: "h2tp-session", Value: strings.Repeat("0", 32)})
	without := func(name string, other ...pool.Field) (fields []pool.Field) {
		for _, f := range back {
			if f.Name != name {
				fields = append(fields, f)
			}
		}
		return append(fields, other...)
	}
	for _, tt := range []struct {
		name   string
		answer func(*pool.Stream)
		want   []string
	}{
		{"404", func(s *pool.Stream) { s.Refuse(404, "not found\n") }, []string{`msg="peer refuses"`, "status 404"}},
		{"a page", func(s *pool.Stream) { s.Respond(200, pool.Field{Name: "content-type", Value: "text/html"}) }, []string{`msg="peer is no back"`, "no common version", "text/html"}},
		{"another version", func(s *pool.Stream) {
			s.Respond(200, without("h2tp-version", pool.Field{Name: "h2tp-version", Value: "9"})...)
		}, []string{`msg="peer is no back"`, `h2tp-version \"9\"`}},
		{"bad limits", func(s *pool.Stream) {
			s.Respond(200, without("h2tp-limits", pool.Field{Name: "h2tp-limits", Value: "batch=1"})...)
		}, []string{`msg="peer is no back"`, "limit batch"}},
		{"no session", func(s *pool.Stream) { s.Respond(200, without("h2tp-session")...) }, []string{`msg="peer is no back"`, "no h2tp-session"}},
		{"a reset", func(s *pool.Stream) { s.Reset(codeProtocol) }, []string{`msg="peer resets"`, "PROTOCOL_ERROR"}},
		{"nothing", func(*pool.Stream) {}, []string{`msg="peer does not answer"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newMemNet()
				b := startBack(t, newMemNet(), Config{Handler: okHandler})
				var isBack atomic.Bool
				srv, err := pool.NewServer(pool.ServerConfig{Common: pool.Common{Cleartext: true}, Accept: func(s *pool.Stream) {
					if isBack.Load() {
						b.accept(s)
					} else {
						tt.answer(s)
					}
				}})
				if err != nil {
					t.Fatal(err)
				}
				go srv.Serve(m)
				defer srv.Close()
				var log lockedBuffer
				var isThere atomic.Bool // that nothing was there before is told by other lines
				dial := func(network, addr string, timeout time.Duration) (net.Conn, error) {
					if !isThere.Load() {
						return nil, errors.New("connection refused")
					}
					return m.dial(network, addr, timeout)
				}
				f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: dial, Logger: slog.New(slog.NewTextHandler(&log, nil))})
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				lines := func(want int) {
					t.Helper()
					time.Sleep(time.Minute)
					synctest.Wait()
					if got := strings.Count(log.String(), "level=WARN "+tt.want[0]); got != want {
						t.Fatalf("%d lines; want %d:\n%s", got, want, &log)
					}
				}
				lines(0)
				isThere.Store(true)
				lines(1)
				for _, want := range tt.want {
					if !strings.Contains(log.String(), want) {
						t.Errorf("the log has no %s:\n%s", want, &log)
					}
				}
				c := serveBubble(t, f)
				c.get("/").want(t, 502, "no back")
				isBack.Store(true)
				lines(1)
				c.get("/").want(t, 200, "a back")
			})
		})
	}
}
