package proxy

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// takeBulk accepts a bulk stream and reads its request.
func takeBulk(t testing.TB, s *pool.Stream) *bulkReader {
	t.Helper()
	r := newBulkReader(&Hop{Memory: compress.NewMemory(0)}, &route{memory: &budget{limit: 1 << 30}})
	t.Cleanup(r.release)
	s.Respond(200, r.own.fields()...)
	theirs, err := parseTerms(s.Header())
	if err != nil {
		t.Fatal(err)
	}
	r.begin(s, theirs)
	s.SetReadDeadline(time.Now().Add(patience))
	if rec, err := r.next(); err != nil || rec.Type != wire.TypeRequest {
		t.Fatalf("got %v, %v; want a request", rec, err)
	}
	return r
}

// decline answers a request as not started.
func decline(s *pool.Stream, code wire.Code) {
	var b wire.Batch
	wire.NewEncoder(wire.DictLimits{}).AppendNotStarted(&b, 1, code, 0)
	writeBatch(s, &b)
	s.CloseWrite()
}

// serveBody reads a body and answers with it.
func serveBody(t testing.TB, s *pool.Stream, r *bulkReader) {
	t.Helper()
	var body []byte
	for {
		rec, err := r.next()
		if err != nil {
			t.Errorf("the body: %v", err)
			return
		}
		if rec.Type == wire.TypeEnd {
			break
		}
		body = append(body, rec.Data...)
	}
	var b wire.Batch
	wire.NewEncoder(wire.DictLimits{}).AppendResponse(&b, 1, &wire.Response{Status: 200, BodyKind: wire.BodyWhole, Body: body})
	writeBatch(s, &b)
	s.CloseWrite()
}

func refuse421(s *pool.Stream) {
	s.Refuse(421, "unknown session\n", pool.Field{Name: "h2tp-error", Value: "session"})
}

// An intermediary that takes a stream to another back is given further chances, and
// is told of once.
func TestStreamOfAnotherBackIsOpenedAgain(t *testing.T) {
	for _, tc := range []struct {
		refusals, status int
	}{{1, 200}, {3, 200}, {100, 502}} {
		t.Run(fmt.Sprint(tc.refusals), func(t *testing.T) {
			b := startBodies(t)
			var log bytes.Buffer
			f, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			var wg sync.WaitGroup
			endc := make(chan struct{})
			defer wg.Wait() // before the readers are let go
			defer close(endc)
			wg.Go(func() {
				for n := 0; ; n++ {
					select {
					case s := <-b.openc:
						if n < tc.refusals {
							refuse421(s)
						} else {
							serveBody(t, s, takeBulk(t, s))
						}
					case s := <-b.readyc:
						n--
						fill(s, uint32(s.ID()), "", false)
					case <-endc:
						return
					}
				}
			})
			body := strings.Repeat("b", 100<<10)
			a := dialClient(t, addr).post("/", body)
			a.want(t, tc.status, "an upload")
			if tc.status == 200 && a.body != body {
				t.Errorf("got %d bytes", len(a.body))
			}
			f.Close() // the log is whole
			if n := strings.Count(log.String(), "spreads"); n != 1 {
				t.Errorf("logged %d times; want once:\n%s", n, log.String())
			}
		})
	}
}

// A streamed request of whose body nothing was read goes elsewhere when its back did
// not start it; one that was read from does not.
func TestDeclinedStreamGoesElsewhereWhileItsBodyIsUntouched(t *testing.T) {
	for _, isSent := range []bool{false, true} {
		backs := []*bodyScript{startBodies(t), startBodies(t)}
		f, addr := startFront(t, Config{To: []string{"h2tpc://" + backs[0].addr, "h2tpc://" + backs[1].addr}})
		for _, b := range backs { // both are up
			await(t, b.batchc, "a batched stream")
			await(t, b.readyc, "a ready stream")
		}
		c := dialClient(t, addr)
		body := strings.Repeat("b", 100<<10)
		head := fmt.Sprintf("POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
		if isSent {
			head += body[:10]
		}
		c.send(head)
		var s *pool.Stream
		other := backs[0].openc
		select {
		case s = <-backs[0].openc:
			other = backs[1].openc
		case s = <-backs[1].openc:
		case <-time.After(patience):
			t.Fatal("no stream came")
		}
		r := takeBulk(t, s)
		if isSent {
			if rec, err := r.next(); err != nil || rec.Type != wire.TypeData {
				t.Fatalf("got %v, %v; want data", rec, err)
			}
		}
		decline(s, wire.CodeOverload)
		if isSent {
			c.read("POST").want(t, 503, "a declined request whose body was read from")
		} else {
			s := await(t, other, "a stream at the other back")
			r := takeBulk(t, s)
			var b wire.Batch
			wire.NewEncoder(wire.DictLimits{}).AppendResponse(&b, 1, &wire.Response{Status: 100})
			writeBatch(s, &b)
			c.read("POST").want(t, 100, "the other back's word")
			go io.WriteString(c.nc, body)
			serveBody(t, s, r)
			if a := c.read("POST"); a.status != 200 || a.body != body {
				t.Errorf("got %d and %d bytes; want what was sent", a.status, len(a.body))
			}
		}
		awaitNone(t, f.route)
	}
}
