package proxy

import (
	"bufio"
	"io"
	"net"
	"testing"

	"github.com/valyala/fasthttp"
)

// BenchmarkUpstream is a small exchange with an upstream over loopback, by a hundred callers.
func BenchmarkUpstream(b *testing.B) {
	up := startScript(b, func(nc net.Conn, r *bufio.Reader) {
		for {
			for line := []byte("first"); len(line) > 2; { // to the empty one
				var err error
				if line, err = r.ReadSlice('\n'); err != nil {
					return
				}
			}
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	f, err := NewFront(Config{To: []string{"http://" + up}})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.ReportAllocs()
	b.SetParallelism(50)
	b.RunParallel(func(pb *testing.PB) {
		var req fasthttp.Request
		var resp fasthttp.Response
		req.SetRequestURI("http://x/v1/orders")
		for pb.Next() {
			if err := f.Do(&req, &resp); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
