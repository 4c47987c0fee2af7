//go:build !race

package http1

import "testing"

func TestSteadyStateAllocatesNothing(t *testing.T) {
	var (
		req     RequestHead
		resp    ResponseHead
		c       Chunked
		buf     []byte
		request = []byte(benchRequest)
		answer  = []byte(benchResponse)
		body    = []byte("5\r\nhello\r\n0\r\nX: y\r\n\r\n")
		bad     = []byte("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
		reason  = []byte("Fine")
	)
	for name, f := range map[string]func(){
		"request":         func() { ParseRequestHead(request, &req, Limits{}) },
		"partial request": func() { ParseRequestHead(request[:100], &req, Limits{}); ParseRequestHead(request, &req, Limits{}) },
		"bad request":     func() { ParseRequestHead(bad, &req, Limits{}) },
		"response":        func() { ParseResponseHead(answer, &resp, Limits{}) },
		"chunked": func() {
			c.Reset(Limits{})
			for p := body; ; {
				n, _, done, err := c.Next(p)
				if p = p[n:]; done || err != nil {
					return
				}
			}
		},
		"append": func() {
			buf = AppendRequest(buf[:0], req.Method, req.Target, req.Authority, req.Fields, HopClose)
			buf = AppendResponseHead(buf, 200, nil, resp.Fields, HopChunked)
			buf = AppendResponseHead(buf, 200, reason, resp.Fields, 0)
			buf = AppendField(buf, "Connection", "upgrade")
			buf = AppendField(buf, []byte("Upgrade"), req.Upgrade)
			buf = AppendChunk(buf, body)
			buf = AppendLastChunk(buf, c.Trailers)
		},
	} {
		if got := testing.AllocsPerRun(100, f); got != 0 {
			t.Errorf("%s: %v allocations; want 0", name, got)
		}
	}
}
