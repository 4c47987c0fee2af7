package http1

import (
	"strings"
	"testing"
)

var benchRequest = strings.ReplaceAll(`GET /api/v1/items/12345?fields=name,price&limit=20 HTTP/1.1
Host: api.example.com
User-Agent: Mozilla/5.0 (X11; Linux x86_64) bench/1.0
Accept: application/json, text/plain
Accept-Encoding: gzip, deflate, br
Accept-Language: en-US,en;q=0.9
X-Request-Id: 7f8a6c1e-0d4b-4a53-9a57-1c2f3e4d5b6a
Cookie: session=0123456789abcdef
Connection: keep-alive

`, "\n", "\r\n")

var benchResponse = strings.ReplaceAll(`HTTP/1.1 200 OK
Server: nginx
Date: Mon, 02 Jun 2025 10:00:00 GMT
Content-Type: application/json; charset=utf-8
Content-Length: 512
Cache-Control: no-store
Connection: keep-alive

`, "\n", "\r\n")

func BenchmarkParseRequestHead(b *testing.B) {
	for _, bc := range []struct{ name, in string }{
		{"typical", benchRequest},
		{"tiny", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"named", strings.Replace(benchRequest, "keep-alive", "keep-alive, X-Request-Id", 1)},
	} {
		b.Run("head="+bc.name, func(b *testing.B) {
			var h RequestHead
			p := []byte(bc.in)
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				if n, err := ParseRequestHead(p, &h, Limits{}); n != len(p) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkParseResponseHead(b *testing.B) {
	var h ResponseHead
	p := []byte(benchResponse)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		if n, err := ParseResponseHead(p, &h, Limits{}); n != len(p) || err != nil {
			b.Fatal(n, err)
		}
	}
}

// One byte a call: linear only if what was searched is remembered.
func BenchmarkParseSlowSender(b *testing.B) {
	p := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 32<<10) + "\r\n\r\n")
	var h RequestHead
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		for i := range p {
			if n, err := ParseRequestHead(p[:i+1], &h, Limits{}); err != nil || n > 0 != (i+1 == len(p)) {
				b.Fatal(i, n, err)
			}
		}
	}
}

func BenchmarkAppendRequest(b *testing.B) {
	var h RequestHead
	if _, err := ParseRequestHead([]byte(benchRequest), &h, Limits{}); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	b.SetBytes(int64(len(benchRequest)))
	for b.Loop() {
		buf = AppendRequest(buf[:0], h.Method, h.Target, h.Authority, h.Fields, 0)
	}
}

func BenchmarkAppendResponseHead(b *testing.B) {
	var h ResponseHead
	if _, err := ParseResponseHead([]byte(benchResponse), &h, Limits{}); err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 1024)
	b.ReportAllocs()
	b.SetBytes(int64(len(benchResponse)))
	for b.Loop() {
		buf = AppendResponseHead(buf[:0], h.Status, nil, h.Fields, 0)
	}
}

func BenchmarkChunked(b *testing.B) {
	for _, size := range []int{64, 4 << 10} {
		b.Run("chunk="+map[int]string{64: "64", 4 << 10: "4K"}[size], func(b *testing.B) {
			var p []byte
			for len(p) < 64<<10 {
				p = AppendChunk(p, make([]byte, size))
			}
			p = AppendLastChunk(p, nil)
			var c Chunked
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				c.Reset(Limits{})
				for rest := p; ; {
					n, _, done, err := c.Next(rest)
					if err != nil {
						b.Fatal(err)
					}
					if rest = rest[n:]; done {
						break
					}
				}
			}
		})
	}
}
