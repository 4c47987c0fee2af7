package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

var requestSeeds = []string{
	benchRequest,
	"GET / HTTP/1.1\r\nHost: a\r\n\r\nbody",
	"GET http://b:80/x HTTP/1.0\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: [::1]:8\r\n\r\n",
	"\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 05\r\ncontent-length: 5\r\nExpect: 100-Continue\r\n\r\nhello",
	"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nHost: a\r\nTE: trailers\r\nConnection: TE, X\r\nX: y\r\n\r\n0\r\n\r\n",
	"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
	"GET / HTTP/1.1\nHost: a\n\n",
	"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	"\x16\x03\x01\x02\x00\x01\x00",
	"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n z\r\nT: \x00\r\n\r\n",
	"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
}

var fuzzLimits = Limits{Line: 256, Head: 1024, Fields: 16}

func FuzzRequestHead(f *testing.F) {
	for _, s := range requestSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		parse := func(p []byte, h *RequestHead) (int, error) { return ParseRequestHead(p, h, fuzzLimits) }
		var h RequestHead
		n, err := parse(in, &h)
		wantSameBytewise(t, in, n, err, parse)
		if n == 0 {
			return
		}
		wantClean(t, h.Fields)
		wantAsNetHTTP(t, in[:n], &h)
		if len(h.Authority) == 0 {
			h.Authority = []byte("a") // what is written is HTTP/1.1
		}
		again := AppendRequest(nil, h.Method, h.Target, h.Authority, h.Fields, hopOf(h.Chunked))
		var h2 RequestHead
		if n2, err := ParseRequestHead(again, &h2, Limits{}); n2 != len(again) || err != nil {
			t.Fatalf("%q, written again: %d, %v", again, n2, err)
		}
		if !bytes.Equal(h.Method, h2.Method) || !bytes.Equal(h.Target, h2.Target) || !bytes.Equal(h.Authority, h2.Authority) ||
			h.ContentLength != h2.ContentLength || h.Chunked != h2.Chunked || h.ExpectContinue != h2.ExpectContinue ||
			!slices.Equal(lines(h.Fields), lines(h2.Fields)) {
			t.Fatalf("got %+v; want %+v", h2, h)
		}
		wantAsNetHTTP(t, again, &h2)
	})
}

// wantSameBytewise checks that bytes which come one at a time end as they do when they come at once. A fault
// may be found later then, but at the end of the head at the latest.
func wantSameBytewise[H any](t *testing.T, in []byte, n int, err error, parse func([]byte, *H) (int, error)) {
	t.Helper()
	if err != nil {
		in = append(in[:len(in):len(in)], "\r\n\r\n"...)
	}
	if fed, fedErr := feed(in, parse); fed != n || statusOf(fedErr) != statusOf(err) {
		t.Fatalf("%q bytewise: got %d, %v; want %d, %v", in, fed, fedErr, n, err)
	}
}

func wantClean(t *testing.T, fields []Field) {
	t.Helper()
	for _, f := range fields {
		if IsHopByHop(f.Name) || !IsValidField(f.Name, f.Value) || bytes.ContainsAny(f.Value, "\r\n\x00") {
			t.Fatalf("%q: %q was let through", f.Name, f.Value)
		}
	}
}

func hopOf(chunked bool) Hop {
	if chunked {
		return HopChunked
	}
	return 0
}

// wantAsNetHTTP checks that net/http, if it takes the head too, sees the same request.
func wantAsNetHTTP(t *testing.T, head []byte, h *RequestHead) {
	t.Helper()
	head = bytes.TrimLeft(head, "\r\n") // its server skips none
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(head)))
	if err != nil {
		return
	}
	length := max(h.ContentLength, 0)
	if h.Chunked {
		length = -1
	}
	if r.Method != string(h.Method) || r.RequestURI != string(h.Target) || r.ContentLength != length ||
		slices.Equal(r.TransferEncoding, []string{"chunked"}) != h.Chunked || r.ProtoMinor == 1 && h.Minor != 1 {
		t.Fatalf("%q: net/http sees %s %s, length %d, %v; want %+v", head, r.Method, r.RequestURI, r.ContentLength, r.TransferEncoding, h)
	}
	if r.Host != string(h.Authority) {
		t.Fatalf("%q: net/http sees host %q; want %q", head, r.Host, h.Authority)
	}
	for _, f := range h.Fields {
		if !slices.ContainsFunc(r.Header.Values(string(f.Name)), func(v string) bool {
			return v == string(f.Value) || nameOf(f.Name) == nameContentLength
		}) {
			t.Fatalf("%q: net/http has no %q: %q", head, f.Name, f.Value)
		}
	}
}

func FuzzResponseHead(f *testing.F) {
	for _, s := range []string{
		benchResponse,
		"HTTP/1.1 200\r\n\r\n",
		"HTTP/1.0 304 Not Modified\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade, X\r\nUpgrade: websocket\r\nX: y\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nX: y\n\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		parse := func(p []byte, h *ResponseHead) (int, error) { return ParseResponseHead(p, h, fuzzLimits) }
		var h ResponseHead
		n, err := parse(in, &h)
		wantSameBytewise(t, in, n, err, parse)
		if n == 0 {
			return
		}
		wantClean(t, h.Fields)
		again := AppendResponseHead(nil, h.Status, h.Reason, h.Fields, hopOf(h.Chunked))
		var h2 ResponseHead
		if n2, err := ParseResponseHead(again, &h2, Limits{}); n2 != len(again) || err != nil {
			t.Fatalf("%q, written again: %d, %v", again, n2, err)
		}
		if h.Status != h2.Status || string(h.Reason) != string(h2.Reason) || h.ContentLength != h2.ContentLength ||
			h.Chunked != h2.Chunked || !slices.Equal(lines(h.Fields), lines(h2.Fields)) {
			t.Fatalf("got %+v; want %+v", h2, h)
		}
		r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(again)), nil)
		if err != nil {
			return
		}
		mode := h.BodyMode(nil)
		want := map[BodyMode]int64{BodyLength: h.ContentLength, BodyChunked: -1, BodyUntilClose: -1}[mode]
		if r.StatusCode != h.Status || r.ContentLength != want && h.Status != 304 || (len(r.TransferEncoding) > 0) != (mode == BodyChunked) {
			t.Fatalf("%q: net/http sees %d, length %d, %v; want %+v", again, r.StatusCode, r.ContentLength, r.TransferEncoding, h)
		}
	})
}

func FuzzChunked(f *testing.F) {
	for _, s := range []string{
		"0\r\n\r\n",
		"5\r\nhello\r\n0\r\n\r\nnext",
		"a;b=\"c\"\r\n0123456789\r\n00 ;x\r\nX: y\r\nConnection: z\r\n\r\n",
		"ffffffffffffffff\r\n",
		"5\nhello\n0\n\n",
		"1;" + strings.Repeat("x", 1100) + "\r\na\r\n",
	} {
		f.Add([]byte(s), uint8(3))
	}
	f.Fuzz(func(t *testing.T, in []byte, step uint8) {
		var whole, parts Chunked
		whole.Reset(fuzzLimits)
		parts.Reset(fuzzLimits)
		body, used, done, err := readChunked(&whole, in, len(in)+1)
		body2, used2, done2, err2 := readChunked(&parts, in, int(step)+1)
		if !bytes.Equal(body, body2) || done != done2 || done && used != used2 || err == nil && err2 != nil ||
			done && !slices.Equal(lines(whole.Trailers), lines(parts.Trailers)) {
			t.Fatalf("%q: got %q, %d, %v, %v in pieces; want %q, %d, %v, %v", in, body2, used2, done2, err2, body, used, done, err)
		}
		if !done {
			return
		}
		wantClean(t, whole.Trailers)
		again := AppendLastChunk(AppendChunk(nil, body), whole.Trailers)
		var c Chunked
		body2, used2, done, err = readChunked(&c, again, len(again))
		if !bytes.Equal(body, body2) || used2 != len(again) || !done || err != nil ||
			!slices.Equal(lines(c.Trailers), lines(whole.Trailers)) {
			t.Fatalf("%q, written again: %q, %d, %v, %v", again, body2, used2, done, err)
		}
		// net/http, if it takes the body too, reads the same.
		msg := append([]byte("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"), in[:used]...)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(msg)))
		if err != nil {
			t.Fatal(err)
		}
		if theirs, err := io.ReadAll(r.Body); err == nil && !bytes.Equal(theirs, body) {
			t.Fatalf("%q: net/http reads %q; want %q", in[:used], theirs, body)
		}
	})
}
