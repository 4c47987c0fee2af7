package http1

import (
	"strings"
	"testing"
)

func mustResponse(t *testing.T, in string) *ResponseHead {
	t.Helper()
	h := new(ResponseHead)
	if n, err := ParseResponseHead([]byte(in), h, Limits{}); err != nil || n != len(in) {
		t.Fatalf("ParseResponseHead(%.200q) = %d, %v; want %d, nil", in, n, err, len(in))
	}
	return h
}

func TestResponseHeadIsParsedAsSent(t *testing.T) {
	h := mustResponse(t, crlf("HTTP/1.1 299 Ca va \xe9\nServer: x\nset-cookie: a\nSet-Cookie: b\nContent-Length: 7\n\n"))
	if h.Status != 299 || string(h.Reason) != "Ca va \xe9" || h.Minor != 1 || h.ContentLength != 7 || h.Chunked || h.Close || h.Upgrade != nil {
		t.Errorf("got %+v", h)
	}
	wantLines(t, h.Fields, "Server: x", "set-cookie: a", "Set-Cookie: b", "Content-Length: 7")
	for _, in := range []string{"HTTP/1.1 200\n\n", "HTTP/1.1 200 \n\n"} {
		if h := mustResponse(t, crlf(in)); h.Reason == nil || len(h.Reason) != 0 {
			t.Errorf("%q: got reason %v; want an empty one", in, h.Reason)
		}
	}
}

func TestResponseRefusals(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\n"
	for _, tc := range []struct{ name, in string }{
		{"no HTTP", "SSH-2.0"},
		{"ICY", "ICY 200 OK\n\n"},
		{"HTTP/2", "HTTP/2.0 200 OK\n\n"},
		{"version of two digits", "HTTP/1.10 200 OK\n\n"},
		{"version not a digit", "HTTP/1.x 200 OK\n\n"},
		{"empty line first", "\nHTTP/1.1 200 OK\n\n"},
		{"two spaces", "HTTP/1.1  200 OK\n\n"},
		{"status of two digits", "HTTP/1.1 20 OK\n\n"},
		{"status of four digits", "HTTP/1.1 2000 OK\n\n"},
		{"status below 100", "HTTP/1.1 099 OK\n\n"},
		{"status not a number", "HTTP/1.1 2x0 OK\n\n"},
		{"NUL in the phrase", "HTTP/1.1 200 O\x00K\n\n"},
		{"bare CR in the phrase", "HTTP/1.1 200 O\rK\n\n"},
		{"space before the colon", ok + "X : y\n\n"},
		{"folded line", ok + "X: y\n z\n\n"},
		{"control byte in a value", ok + "X: \x1b[0m\n\n"},
		{"differing lengths", ok + "Content-Length: 5\nContent-Length: 6\n\n"},
		{"equal lengths", ok + "Content-Length: 5\nContent-Length: 5\n\n"},
		{"equal lengths in a list", ok + "Content-Length: 5, 5\n\n"},
		{"coding and length", ok + "Transfer-Encoding: chunked\nContent-Length: 5\n\n"},
		{"coding before chunked", ok + "Transfer-Encoding: gzip, chunked\n\n"},
		{"coding in HTTP/1.0", "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n"},
		{"head too large", ok + "X: " + strings.Repeat("y", DefaultHead) + "\n\n"},
		{"phrase without end", "HTTP/1.1 200 " + strings.Repeat("y", DefaultHead)},
		{"too many fields", ok + strings.Repeat("X: y\n", 257) + "\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := []byte(crlf(tc.in))
			if n, err := ParseResponseHead(in, new(ResponseHead), Limits{}); n != 0 || statusOf(err) != 502 {
				t.Errorf("whole: got %d, %v (%d); want 502", n, err, statusOf(err))
			}
			n, err := feed(in, func(p []byte, h *ResponseHead) (int, error) { return ParseResponseHead(p, h, Limits{}) })
			if n != 0 || statusOf(err) != 502 {
				t.Errorf("bytewise: got %d, %v (%d); want 502", n, err, statusOf(err))
			}
		})
	}
	for _, in := range []string{"HTTP/1.1 200 OK\nX: y\r\n\r\n", "HTTP/1.1 200 OK\r\nX: y\n\r\n", "HTTP/1.1 200 OK\r\n\n"} {
		if _, err := ParseResponseHead([]byte(in), new(ResponseHead), Limits{}); statusOf(err) != 502 {
			t.Errorf("%q: got %v; want 502", in, err)
		}
	}
}

func TestHopByHopFieldsAreTakenOutOfResponses(t *testing.T) {
	h := mustResponse(t, crlf(`HTTP/1.1 101 Switching Protocols
Connection: upgrade, X-Hop
Upgrade: websocket
Keep-Alive: timeout=5
Proxy-Connection: close
Proxy-Authenticate: Basic
Proxy-Authentication-Info: x
X-Hop: y
Host: kept by nobody
WWW-Authenticate: Basic
Expect: whatever

`))
	wantLines(t, h.Fields, "WWW-Authenticate: Basic", "Expect: whatever")
	if string(h.Upgrade) != "websocket" || h.Close {
		t.Errorf("got upgrade %q, close %v; want websocket, false", h.Upgrade, h.Close)
	}
}

func TestHowABodyEnds(t *testing.T) {
	for _, tc := range []struct {
		in     string
		method string
		want   BodyMode
		close  bool
	}{
		{"HTTP/1.1 200 OK\nContent-Length: 5\n\n", "GET", BodyLength, false},
		{"HTTP/1.1 200 OK\nContent-Length: 0\n\n", "GET", BodyLength, false},
		{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "GET", BodyChunked, false},
		{"HTTP/1.1 200 OK\n\n", "GET", BodyUntilClose, false},
		{"HTTP/1.1 200 OK\nConnection: te, Close\n\n", "GET", BodyUntilClose, true},
		{"HTTP/1.0 200 OK\n\n", "GET", BodyUntilClose, true},
		{"HTTP/1.0 200 OK\nConnection: keep-alive\nContent-Length: 5\n\n", "GET", BodyLength, false},
		{"HTTP/1.1 200 OK\nContent-Length: 5\n\n", "HEAD", BodyNone, false},
		{"HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n", "HEAD", BodyNone, false},
		{"HTTP/1.1 304 Not Modified\nContent-Length: 5\n\n", "GET", BodyNone, false},
		{"HTTP/1.1 204 No Content\n\n", "GET", BodyNone, false},
		{"HTTP/1.1 204 No Content\nContent-Length: 0\n\n", "GET", BodyNone, false},
		{"HTTP/1.1 204 No Content\nContent-Length: 5\n\n", "GET", BodyNone, true},
		{"HTTP/1.1 204 No Content\nTransfer-Encoding: chunked\n\n", "GET", BodyNone, true},
		{"HTTP/1.1 103 Early Hints\nLink: x\n\n", "GET", BodyNone, false},
		{"HTTP/1.1 100 Continue\n\n", "POST", BodyNone, false},
	} {
		h := mustResponse(t, crlf(tc.in))
		if got := h.BodyMode([]byte(tc.method)); got != tc.want || h.Close != tc.close {
			t.Errorf("%s %q: got %d, close %v; want %d, %v", tc.method, tc.in, got, h.Close, tc.want, tc.close)
		}
		if (h.Status < 200 || h.Status == 204) && (len(h.Fields) > 0 && nameOf(h.Fields[0].Name) == nameContentLength || h.ContentLength >= 0) {
			t.Errorf("%q: a Content-Length is left where none may be", tc.in)
		}
	}
}

func TestEveryPrefixOfAResponseNeedsMore(t *testing.T) {
	for i := range benchResponse {
		if n, err := ParseResponseHead([]byte(benchResponse[:i]), new(ResponseHead), Limits{}); n != 0 || err != nil {
			t.Fatalf("%d bytes: got %d, %v; want 0, nil", i, n, err)
		}
	}
}

func TestSlowUpstreamCausesNoSecondParse(t *testing.T) {
	in := []byte("HTTP/1.1 200 " + strings.Repeat("y", 1<<10) + "\r\nX: " + strings.Repeat("y", 1<<10) + "\r\nZ: ")
	var h ResponseHead
	for i := range in {
		if i >= len("HTTP/1.1 200\r\n") && (h.scanned != i || mayEnd(in[:i+1], h.scanned)) {
			t.Fatalf("%d bytes: %d searched; parsed again", i, h.scanned)
		}
		if n, err := ParseResponseHead(in[:i+1], &h, Limits{}); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}
}
