package bench

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// duplex is a stream as both sides here have it.
type duplex interface {
	io.ReadWriteCloser
	CloseWrite() error
}

// opener is one of those compared: its server echoes what comes on each stream, on
// a goroutine for each, until the client ends its side.
type opener struct {
	name string
	open func() (duplex, error)
}

// manyStreams is more than are opened on the one connection.
const manyStreams = 50_000

func startPoolStreams(tb testing.TB) opener { return startPoolConns(tb, "pool", 1) }

// startPoolTwo shows what a second connection costs.
func startPoolTwo(tb testing.TB) opener { return startPoolConns(tb, "pool-conns-2", 2) }

func startPoolConns(tb testing.TB, name string, conns int) opener {
	common := pool.Common{Cleartext: true, MaxStreams: manyStreams}
	srv, err := pool.NewServer(pool.ServerConfig{Common: common, Accept: func(s *pool.Stream) {
		s.Respond(200)
		go echo(s, s)
	}})
	if err != nil {
		tb.Fatal(err)
	}
	ln := listenLoopback(tb)
	go srv.Serve(ln)
	tb.Cleanup(func() { srv.Close() })
	cl, err := pool.NewClient(pool.ClientConfig{Common: common, Addr: ln.Addr().String(), Conns: conns})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cl.Close() })
	return opener{name, func() (duplex, error) {
		s, err := cl.Open(context.Background(), pool.Header{Path: "/"}, nil)
		if err != nil {
			return nil, err
		}
		return s, nil
	}}
}

// echo needs no buffer larger than what the callers send.
func echo(w interface {
	io.Writer
	Close() error
}, r io.Reader) {
	defer w.Close()
	buf := make([]byte, 256)
	for {
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); err != nil || werr != nil {
			return
		}
	}
}

// httpStream is a POST of net/http whose two bodies flow at once.
type httpStream struct {
	io.ReadCloser // of the response
	w             *io.PipeWriter
}

func (s *httpStream) Write(p []byte) (int, error) { return s.w.Write(p) }
func (s *httpStream) CloseWrite() error           { return s.w.Close() }
func (s *httpStream) Close() error {
	s.w.Close()
	return s.ReadCloser.Close()
}

// flushed writes and flushes, as a handler has to.
type flushed struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (f flushed) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.w.Write(p)
	if err == nil {
		err = f.rc.Flush()
	}
	return n, err
}
func (f flushed) Close() error { return nil }

// startHTTPStreams announces the least frame size: a client of net/http holds a
// buffer of that size, 512 KiB by default, for each body it sends.
func startHTTPStreams(tb testing.TB) opener {
	var clear http.Protocols
	clear.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Protocols: &clear, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: manyStreams, MaxReadFrameSize: 16 << 10},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f := flushed{w, http.NewResponseController(w)}
			w.WriteHeader(200)
			f.rc.Flush()
			echo(f, r.Body)
		}),
	}
	ln := listenLoopback(tb)
	go srv.Serve(ln)
	tb.Cleanup(func() { srv.Close() })
	tr := &http.Transport{Protocols: &clear, DisableCompression: true}
	tb.Cleanup(tr.CloseIdleConnections)
	url := "http://" + ln.Addr().String() + "/"
	return opener{"nethttp", func() (duplex, error) {
		pr, pw := io.Pipe()
		req, err := http.NewRequest("POST", url, pr)
		if err != nil {
			return nil, err
		}
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		return &httpStream{resp.Body, pw}, nil
	}}
}

func listenLoopback(tb testing.TB) net.Listener {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { ln.Close() })
	return ln
}

// openClose is the whole life of a stream that carries nothing.
func (o opener) openClose(tb testing.TB) {
	s, err := o.open()
	if err != nil {
		tb.Error(err)
		return
	}
	s.CloseWrite()
	if n, err := s.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		tb.Errorf("%s: got %d bytes, %v; want the end", o.name, n, err)
	}
	s.Close()
}

// warm opens the connection, of which net/http would make one for each cold caller.
func (o opener) warm(tb testing.TB) opener {
	o.openClose(tb)
	return o
}

// startOpens starts callers that open and close streams.
func startOpens(tb testing.TB, o opener, n int) *callers {
	return startCallers(tb, n, func(int) { o.openClose(tb) })
}

// startEchoes opens n streams, each with a caller that makes round trips of 100 bytes.
func startEchoes(tb testing.TB, o opener, n int) *callers {
	streams := make([]duplex, n)
	for i := range streams {
		s, err := o.open()
		if err != nil {
			tb.Fatal(err)
		}
		streams[i] = s
	}
	bufs := make([][200]byte, n)
	cs := startCallers(tb, n, func(i int) {
		s, buf := streams[i], &bufs[i]
		if _, err := s.Write(buf[:100]); err != nil {
			tb.Error(err)
			return
		}
		if _, err := io.ReadFull(s, buf[100:]); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(func() {
		for _, s := range streams {
			s.Close()
		}
	})
	return cs
}

// streamCases are what is compared.
var streamCases = []struct {
	name  string
	start func(testing.TB, opener) *callers
}{
	{"open/callers=1", func(tb testing.TB, o opener) *callers { return startOpens(tb, o, 1) }},
	{"open/callers=100", func(tb testing.TB, o opener) *callers { return startOpens(tb, o, 100) }},
	{"echo/streams=1", func(tb testing.TB, o opener) *callers { return startEchoes(tb, o, 1) }},
	{"echo/streams=100", func(tb testing.TB, o opener) *callers { return startEchoes(tb, o, 100) }},
	{"echo/streams=10000", func(tb testing.TB, o opener) *callers { return startEchoes(tb, o, 10_000) }},
}

// BenchmarkStreams opens and closes streams, and makes round trips on open ones;
// beside it net/http's HTTP/2 does.
func BenchmarkStreams(b *testing.B) {
	for _, c := range streamCases {
		for _, start := range []func(testing.TB) opener{startPoolStreams, startPoolTwo, startHTTPStreams} {
			o := start(b).warm(b)
			b.Run("kind="+c.name+"/via="+o.name, func(b *testing.B) {
				cs := c.start(b, o)
				cs.run()
				b.ReportAllocs()
				b.ResetTimer()
				before, n := cpuTime(), 0
				for b.Loop() {
					n += cs.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/op")
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/1e3/float64(n), "cpu-us/op")
			})
		}
	}
}

// TestStreamRatios runs the two in turns, with -ratios, and prints the medians.
func TestStreamRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures only with -ratios")
	}
	fmt.Printf("GOMAXPROCS=%d, %d rounds\n", runtime.GOMAXPROCS(0), *rounds)
	fmt.Println("what                 cpu us: pool  nethttp  ratio  (lowest-highest)    per second: pool  nethttp")
	for _, c := range streamCases {
		t.Run(c.name, func(t *testing.T) {
			var cs [2]*callers
			for i, start := range []func(testing.TB) opener{startPoolStreams, startHTTPStreams} {
				cs[i] = c.start(t, start(t).warm(t))
				cs[i].run()
			}
			var cpu, rate [2][]float64
			var ratio []float64
			for r := range *rounds {
				var took [2]float64
				for k := range 2 {
					i := (k + r) % 2 // the one that begins changes
					before, began, n := cpuTime(), time.Now(), 0
					for time.Since(began) < 200*time.Millisecond {
						n += cs[i].run()
					}
					took[i] = float64((cpuTime() - before).Nanoseconds()) / 1e3 / float64(n)
					cpu[i] = append(cpu[i], took[i])
					rate[i] = append(rate[i], float64(n)/time.Since(began).Seconds())
				}
				ratio = append(ratio, took[0]/took[1])
			}
			fmt.Printf("%-20s %13.2f %8.2f %6.2f  (%.2f-%.2f) %21.0f %8.0f\n", c.name, median(cpu[0]), median(cpu[1]), median(ratio),
				slices.Min(ratio), slices.Max(ratio), median(rate[0]), median(rate[1]))
		})
	}
}

// BenchmarkIdleStream is the memory of an open stream that carries nothing, both
// ends together, with the server's goroutine waiting in a read.
func BenchmarkIdleStream(b *testing.B) {
	for _, start := range []func(testing.TB) opener{startPoolStreams, startHTTPStreams} {
		o := start(b).warm(b)
		b.Run("via="+o.name, func(b *testing.B) {
			const n = 3000
			streams := make([]duplex, n)
			var perStream float64
			for b.Loop() {
				before := memoryInUse()
				for i := range streams {
					s, err := o.open()
					if err != nil {
						b.Fatal(err)
					}
					streams[i] = s
				}
				perStream = float64(memoryInUse()-before) / n
				for i, s := range streams {
					s.Close()
					streams[i] = nil
				}
			}
			b.ReportMetric(perStream, "B/stream")
		})
	}
}

// memoryInUse is the heap's and the stacks' after collection.
func memoryInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
