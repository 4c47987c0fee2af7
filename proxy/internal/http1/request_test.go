package http1

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// crlf lets a test write a head as lines of text.
func crlf(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }

// lines shows fields as "Name: value" for comparison.
func lines(fields []Field) (s []string) {
	for _, f := range fields {
		s = append(s, fmt.Sprintf("%s: %s", f.Name, f.Value))
	}
	return s
}

func wantLines(t *testing.T, got []Field, want ...string) {
	t.Helper()
	if !slices.Equal(lines(got), want) {
		t.Errorf("fields %q; want %q", lines(got), want)
	}
}

func mustRequest(t *testing.T, in string) *RequestHead {
	t.Helper()
	h := new(RequestHead)
	if n, err := ParseRequestHead([]byte(in), h, Limits{}); err != nil || n != len(in) {
		t.Fatalf("ParseRequestHead(%.200q) = %d, %v; want %d, nil", in, n, err, len(in))
	}
	return h
}

func statusOf(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

func TestRequestHeadIsParsedAsSent(t *testing.T) {
	in := crlf("POST //a/./b%2F?q=\xc3\xa9#f HTTP/1.1\nhOsT: Example.COM:8080\nX-One:  a b\t \nx-one: c\nCookie:\n" +
		"Content-Length: 5\nX-Two: \xff\tz\n\n")
	h := new(RequestHead)
	n, err := ParseRequestHead([]byte(in+"hello"), h, Limits{})
	if n != len(in) || err != nil {
		t.Fatalf("got %d, %v; want %d, nil", n, err, len(in))
	}
	if string(h.Method) != "POST" || string(h.Target) != "//a/./b%2F?q=\xc3\xa9#f" || string(h.Authority) != "Example.COM:8080" {
		t.Errorf("got %q %q %q", h.Method, h.Target, h.Authority)
	}
	if h.Minor != 1 || h.ContentLength != 5 || h.Chunked || h.Close || h.KeepAlive10 || h.ExpectContinue || h.Upgrade != nil || h.TETrailers {
		t.Errorf("got %+v", h)
	}
	wantLines(t, h.Fields, "X-One: a b", "x-one: c", "Cookie: ", "Content-Length: 5", "X-Two: \xff\tz")
}

func TestRequestWithoutLengthHasNoBody(t *testing.T) {
	if h := mustRequest(t, crlf("GET / HTTP/1.1\nHost: a\n\n")); h.ContentLength != -1 || h.Chunked {
		t.Errorf("got length %d, chunked %v; want -1, false", h.ContentLength, h.Chunked)
	}
	h := mustRequest(t, crlf("GET / HTTP/1.1\nHost: a\nContent-Length: 0\n\n"))
	if h.ContentLength != 0 {
		t.Errorf("got length %d; want 0", h.ContentLength)
	}
	wantLines(t, h.Fields, "Content-Length: 0")
}

func TestRequestRefusals(t *testing.T) {
	const ok = "GET / HTTP/1.1\nHost: a\n"
	for _, tc := range []struct {
		name   string
		in     string // \n stands for CR LF
		status int
	}{
		{"no Host", "GET / HTTP/1.1\n\n", 400},
		{"two Hosts", ok + "Host: a\n\n", 400},
		{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\nHost: a\nhost: a\n\n", 400},
		{"no Host beside absolute-form", "GET http://a/ HTTP/1.1\n\n", 400},
		{"bad Host beside absolute-form", "GET http://a/ HTTP/1.1\nHost: a b\n\n", 400},
		{"user information in Host", "GET / HTTP/1.1\nHost: u@a\n\n", 400},
		{"path in Host", "GET / HTTP/1.1\nHost: a/b\n\n", 400},
		{"list in Host", "GET / HTTP/1.1\nHost: a, b\n\n", 400},
		{"percent in Host", "GET / HTTP/1.1\nHost: a%0d\n\n", 400},
		{"non-ASCII Host", "GET / HTTP/1.1\nHost: \xc3\xa9\n\n", 400},
		{"port not a number", "GET / HTTP/1.1\nHost: a:8x\n\n", 400},
		{"port too large", "GET / HTTP/1.1\nHost: a:65536\n\n", 400},
		{"empty Host", "GET / HTTP/1.1\nHost:\n\n", 400},
		{"empty Host in HTTP/1.0", "GET / HTTP/1.0\nHost: \n\n", 400},
		{"empty Host beside absolute-form", "GET http://a/ HTTP/1.1\nHost:\n\n", 400},
		{"port alone", "GET / HTTP/1.1\nHost: :80\n\n", 400},
		{"open bracket", "GET / HTTP/1.1\nHost: [::1\n\n", 400},
		{"empty brackets", "GET / HTTP/1.1\nHost: []\n\n", 400},
		{"bytes behind brackets", "GET / HTTP/1.1\nHost: [::1]a\n\n", 400},

		{"user information in target", "GET http://u:p@a/ HTTP/1.1\nHost: a\n\n", 400},
		{"no authority in target", "GET http:///x HTTP/1.1\nHost: a\n\n", 400},
		{"no authority at all in target", "GET http://?x HTTP/1.1\nHost: a\n\n", 400},
		{"other scheme", "GET ftp://a/ HTTP/1.1\nHost: a\n\n", 400},
		{"no scheme", "GET a HTTP/1.1\nHost: a\n\n", 400},
		{"asterisk with GET", "GET * HTTP/1.1\nHost: a\n\n", 400},
		{"asterisk and more", "OPTIONS *a HTTP/1.1\nHost: a\n\n", 400},
		{"CONNECT", "CONNECT a:443 HTTP/1.1\nHost: a:443\n\n", 501},
		{"empty target", "GET  HTTP/1.1\nHost: a\n\n", 400},
		{"two spaces", "GET  / HTTP/1.1\nHost: a\n\n", 400},
		{"space behind the version", "GET / HTTP/1.1 \nHost: a\n\n", 400},
		{"space before the method", " GET / HTTP/1.1\nHost: a\n\n", 400},
		{"space in the target", "GET /a b HTTP/1.1\nHost: a\n\n", 400},
		{"tab in the target", "GET /a\tb HTTP/1.1\nHost: a\n\n", 400},
		{"NUL in the target", "GET /a\x00 HTTP/1.1\nHost: a\n\n", 400},
		{"DEL in the target", "GET /a\x7f HTTP/1.1\nHost: a\n\n", 400},
		{"tab behind the method", "GET\t/ HTTP/1.1\nHost: a\n\n", 400},
		{"method not a token", "G(T / HTTP/1.1\nHost: a\n\n", 400},
		{"method too long", strings.Repeat("M", 65) + " / HTTP/1.1\nHost: a\n\n", 501},

		{"HTTP/0.9", "GET /\n", 400},
		{"HTTP/0.9 by name", "GET / HTTP/0.9\nHost: a\n\n", 505},
		{"HTTP/2.0", "GET / HTTP/2.0\nHost: a\n\n", 505},
		{"HTTP/3", "GET / HTTP/3\nHost: a\n\n", 400},
		{"version of two digits", "GET / HTTP/1.10\nHost: a\n\n", 400},
		{"version in lower case", "GET / http/1.1\nHost: a\n\n", 400},

		{"space before the colon", ok + "X : y\n\n", 400},
		{"tab before the colon", ok + "X\t: y\n\n", 400},
		{"folded line", ok + "X: y\n z\n\n", 400},
		{"folded line by tab", ok + "X: y\n\tz\n\n", 400},
		{"folded first line", "GET / HTTP/1.1\n Host: a\n\n", 400},
		{"no colon", ok + "X\n\n", 400},
		{"no name", ok + ": y\n\n", 400},
		{"name not a token", ok + "X(: y\n\n", 400},
		{"name not ASCII", ok + "X\xc3\xa9: y\n\n", 400},
		{"NUL in a name", ok + "X\x00: y\n\n", 400},
		{"NUL in a value", ok + "X: a\x00b\n\n", 400},
		{"control byte in a value", ok + "X: a\x01b\n\n", 400},
		{"DEL in a value", ok + "X: a\x7fb\n\n", 400},
		{"bare CR in a value", ok + "X: a\rb\n\n", 400},
		{"bare CR before the end", ok + "\rX\n\n", 400},
		{"bare CR in a name", ok + "X\r: y\n\n", 400},

		{"empty length", ok + "Content-Length:\n\n", 400},
		{"signed length", ok + "Content-Length: +5\n\n", 400},
		{"negative length", ok + "Content-Length: -5\n\n", 400},
		{"hexadecimal length", ok + "Content-Length: 0x5\n\n", 400},
		{"length with a space", ok + "Content-Length: 5 5\n\n", 400},
		{"length that overflows", ok + "Content-Length: 18446744073709551621\n\n", 400},
		{"differing lengths", ok + "Content-Length: 5\nContent-Length: 6\n\n", 400},
		{"equal lengths", ok + "Content-Length: 5\ncontent-length: 5\n\n", 400},
		{"equal lengths in a list", ok + "Content-Length: 5, 5\n\n", 400},
		{"equal lengths, one with zeros", ok + "Content-Length: 5\nContent-Length: 05\n\n", 400},
		{"differing lengths in a list", ok + "Content-Length: 5, 6\n\n", 400},
		{"length and nothing", ok + "Content-Length: 5,\n\n", 400},
		{"nothing and length", ok + "Content-Length: ,5\n\n", 400},

		{"coding and length", ok + "Transfer-Encoding: chunked\nContent-Length: 5\n\n", 400},
		{"length and coding", ok + "Content-Length: 5\nTransfer-Encoding: chunked\n\n", 400},
		{"chunked twice", ok + "Transfer-Encoding: chunked, chunked\n\n", 400},
		{"chunked on two lines", ok + "Transfer-Encoding: chunked\ntransfer-encoding: chunked\n\n", 400},
		{"chunked not last", ok + "Transfer-Encoding: chunked, gzip\n\n", 400},
		{"empty coding", ok + "Transfer-Encoding:\n\n", 400},
		{"empty member of codings", ok + "Transfer-Encoding: ,chunked\n\n", 400},
		{"coding before chunked", ok + "Transfer-Encoding: gzip, chunked\n\n", 400},
		{"identity", ok + "Transfer-Encoding: identity\n\n", 400},
		{"almost chunked", ok + "Transfer-Encoding: xchunked\n\n", 400},
		{"quoted chunked", ok + "Transfer-Encoding: \"chunked\"\n\n", 400},
		{"chunked with a parameter", ok + "Transfer-Encoding: chunked;a=b\n\n", 400},
		{"coding in HTTP/1.0", "POST / HTTP/1.0\nTransfer-Encoding: chunked\n\n", 400},

		{"unknown expectation", ok + "Expect: 200-ok\n\n", 417},
		{"expectation and more", ok + "Expect: 100-continue, x\n\n", 417},

		{"target too long", "GET /" + strings.Repeat("a", DefaultLine) + " HTTP/1.1\nHost: a\n\n", 414},
		{"name too long", ok + strings.Repeat("x", 256) + ": y\n\n", 431},
		{"head too large", ok + "X: " + strings.Repeat("y", DefaultHead) + "\n\n", 431},
		{"too many fields", "GET / HTTP/1.1\nHost: a\n" + strings.Repeat("X: y\n", 256) + "\n", 431},
		{"too many connection options", ok + "Connection: x" + strings.Repeat(",x", 32) + "\n\n", 431},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := []byte(crlf(tc.in))
			n, err := ParseRequestHead(in, new(RequestHead), Limits{})
			if n != 0 || statusOf(err) != tc.status {
				t.Errorf("whole: got %d, %v (%d); want %d", n, err, statusOf(err), tc.status)
			}
			if n, err = feed(in, parseRequest); n != 0 || statusOf(err) != tc.status {
				t.Errorf("bytewise: got %d, %v (%d); want %d", n, err, statusOf(err), tc.status)
			}
		})
	}
}

func parseRequest(p []byte, h *RequestHead) (int, error) { return ParseRequestHead(p, h, Limits{}) }

// feed parses in as it grows byte by byte, until the parser decides.
func feed[H any](in []byte, parse func([]byte, *H) (int, error)) (n int, err error) {
	h := new(H)
	for i := range in {
		if n, err = parse(in[:i+1:i+1], h); n > 0 || err != nil {
			break
		}
	}
	return n, err
}

func TestLineFeedWithoutCarriageReturnIsRefused(t *testing.T) {
	for _, in := range []string{
		"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\nHost: a\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX\n: y\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\n\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: y\n",
		"GET /\n\n",
	} {
		if n, err := ParseRequestHead([]byte(in), new(RequestHead), Limits{}); n != 0 || statusOf(err) != 400 {
			t.Errorf("%q whole: got %d, %v; want 400", in, n, err)
		}
		n, err := feed([]byte(in), parseRequest)
		if n != 0 || statusOf(err) != 400 {
			t.Errorf("%q bytewise: got %d, %v; want 400", in, n, err)
		}
	}
}

func TestGarbageIsRefusedWithoutWaitingForMore(t *testing.T) {
	for _, in := range []string{
		"\x16\x03\x01", "\x16", "PRI ", "\x00", "GET\x00", "{", " ", "\r\r", "\xff", "SSH-2.0-OpenSSH_9.6\r", "GET /\x01",
		"GET / a b HTTP/1.1", // ten bytes behind the target tell
	} {
		if n, err := ParseRequestHead([]byte(in), new(RequestHead), Limits{}); n != 0 || statusOf(err) != 400 {
			t.Errorf("%q: got %d, %v; want 400", in, n, err)
		}
	}
	_, err := ParseRequestHead([]byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), new(RequestHead), Limits{})
	if err != errPreface {
		t.Errorf("HTTP/2 preface: got %v; want %v", err, errPreface)
	}
	if _, err = ParseRequestHead([]byte("\x16\x03\x01\x02\x00"), new(RequestHead), Limits{}); err != errTLS {
		t.Errorf("ClientHello: got %v; want %v", err, errTLS)
	}
	long := []byte("GET /" + strings.Repeat("a", DefaultLine))
	if _, err = ParseRequestHead(long, new(RequestHead), Limits{}); statusOf(err) != 414 {
		t.Errorf("an unfinished target over the limit: got %v; want 414", err)
	}
}

func TestEmptyLinesBeforeARequestAreSkippedWithinABound(t *testing.T) {
	const req = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
	for count, want := range []int{len(req), len(req) + 2, len(req) + 4, len(req) + 6, len(req) + 8, 0} {
		in := strings.Repeat("\r\n", count) + req
		n, err := ParseRequestHead([]byte(in), new(RequestHead), Limits{})
		if n != want || (err != nil) != (want == 0) {
			t.Errorf("%d empty lines: got %d, %v; want %d", count, n, err, want)
		}
		fed, fedErr := feed([]byte(in), parseRequest)
		if fed != n || fedErr != err {
			t.Errorf("%d empty lines bytewise: got %d, %v; want %d, %v", count, fed, fedErr, n, err)
		}
	}
}

func TestLimitsAreExact(t *testing.T) {
	head := func(target, fields int) string {
		return "GET /" + strings.Repeat("a", target-1) + " HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", fields-1) + "\r\n"
	}
	for _, tc := range []struct {
		name   string
		in     string
		lim    Limits
		status int
	}{
		{"target at the limit", head(100, 1), Limits{Line: 100}, 0},
		{"target over it", head(101, 1), Limits{Line: 100}, 414},
		{"fields at the limit", head(1, 10), Limits{Fields: 10}, 0},
		{"fields over it", head(1, 11), Limits{Fields: 10}, 431},
		{"head at the limit", head(1, 10), Limits{Head: len(head(1, 10))}, 0},
		{"head over it", head(1, 10), Limits{Head: len(head(1, 10)) - 1}, 431},
		{"default target at the limit", head(DefaultLine, 1), Limits{}, 0},
	} {
		parse := func(p []byte, h *RequestHead) (int, error) { return ParseRequestHead(p, h, tc.lim) }
		if _, err := parse([]byte(tc.in+"body"), new(RequestHead)); statusOf(err) != tc.status {
			t.Errorf("%s: got %v; want %d", tc.name, err, tc.status)
		}
		if _, err := feed([]byte(tc.in), parse); statusOf(err) != tc.status {
			t.Errorf("%s, bytewise: got %v; want %d", tc.name, err, tc.status)
		}
	}
}

func TestAuthorityOfTheTargetOverridesHost(t *testing.T) {
	for _, tc := range []struct{ target, host, want string }{
		{"/", "a", "a"},
		{"/", "[2001:db8::1]:8443", "[2001:db8::1]:8443"},
		{"/", "a_b.example:", "a_b.example:"},
		{"http://b:8080/x?y", "a", "b:8080"},
		{"HTTPS://b", "a", "b"},
		{"http://b?x", "a", "b"},
		{"http://[::1]/", "a", "[::1]"},
	} {
		h := mustRequest(t, crlf("GET "+tc.target+" HTTP/1.1\nHost: "+tc.host+"\n\n"))
		if string(h.Authority) != tc.want || string(h.Target) != tc.target {
			t.Errorf("%s with Host %q: got authority %q, target %q; want %q", tc.target, tc.host, h.Authority, h.Target, tc.want)
		}
	}
	if h := mustRequest(t, crlf("OPTIONS * HTTP/1.1\nHost: a\n\n")); string(h.Target) != "*" || string(h.Authority) != "a" {
		t.Errorf("OPTIONS *: got %q, %q", h.Target, h.Authority)
	}
	if h := mustRequest(t, crlf("GET http://b/ HTTP/1.0\n\n")); string(h.Authority) != "b" {
		t.Errorf("HTTP/1.0 without Host: got %q; want b", h.Authority)
	}
}

func TestWhenTheConnectionMustEnd(t *testing.T) {
	for _, tc := range []struct {
		in          string
		close, ka10 bool
	}{
		{"GET / HTTP/1.1\nHost: a\n\n", false, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: Close\n\n", true, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: TE, close\n\n", true, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: TE\nConnection: ,\t cLOSE ,\n\n", true, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: keep-alive, close\n\n", true, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: closed\n\n", false, false},
		{"GET / HTTP/1.1\nHost: a\nConnection: keep-alive\n\n", false, false},
		{"GET / HTTP/1.9\nHost: a\n\n", false, false},
		{"GET / HTTP/1.0\n\n", true, false},
		{"GET / HTTP/1.0\nConnection: Keep-Alive\n\n", false, true},
		{"GET / HTTP/1.0\nConnection: keep-alive, close\n\n", true, false},
		{"GET / HTTP/1.0\nProxy-Connection: keep-alive\n\n", true, false},
	} {
		if h := mustRequest(t, crlf(tc.in)); h.Close != tc.close || h.KeepAlive10 != tc.ka10 {
			t.Errorf("%q: got close %v, keep-alive %v; want %v, %v", tc.in, h.Close, h.KeepAlive10, tc.close, tc.ka10)
		}
	}
}

func TestHopByHopFieldsAreTakenOutOfRequests(t *testing.T) {
	h := mustRequest(t, crlf(`GET / HTTP/1.1
Connection: keep-alive, X-Hop ,close
A: 1
Host: a
x-HOP: secret
KEEP-alive: timeout=5
Proxy-Connection: keep-alive
Proxy-Authorization: Basic x
Proxy-Authenticate: Basic
Proxy-Authentication-Info: x
Transfer-Encoding: Chunked
Upgrade: h2c
Http2-Settings: AAMAAABk
TE: gzip;q=0.5, Trailers
X-Hop: again
Trailer: X-Sum
B: 2
connection: Other,Host,Content-Length,expect
Expect: 100-Continue
other: x
C: 3

`))
	wantLines(t, h.Fields, "A: 1", "Trailer: X-Sum", "B: 2", "Expect: 100-Continue", "C: 3")
	if !h.Chunked || !h.TETrailers || !h.ExpectContinue || !h.Close || string(h.Authority) != "a" {
		t.Errorf("got %+v", h)
	}
	if h.Upgrade != nil {
		t.Errorf("Upgrade %q without Connection: upgrade; want none", h.Upgrade)
	}
}

func TestConnectionCannotNameFramingAway(t *testing.T) {
	h := mustRequest(t, crlf("POST / HTTP/1.1\nConnection: content-length, host, transfer-encoding\nHost: a\nContent-Length: 5\n\n"))
	wantLines(t, h.Fields, "Content-Length: 5")
	if h.ContentLength != 5 || string(h.Authority) != "a" {
		t.Errorf("got length %d, authority %q; want 5, a", h.ContentLength, h.Authority)
	}
}

func TestUpgradeNeedsConnectionAndHTTP11(t *testing.T) {
	const fields = "Host: a\nUpgrade: websocket, x\nConnection: Keep-Alive, UPGRADE\n\n"
	if h := mustRequest(t, crlf("GET / HTTP/1.1\n"+fields)); string(h.Upgrade) != "websocket, x" || len(h.Fields) != 0 {
		t.Errorf("got %q, %q; want the protocols and no fields", h.Upgrade, lines(h.Fields))
	}
	if h := mustRequest(t, crlf("GET / HTTP/1.1\nUpgrade:\nUpgrade: h2c\n"+fields)); string(h.Upgrade) != "h2c, websocket, x" {
		t.Errorf("on three lines: got %q; want one list", h.Upgrade)
	}
	if h := mustRequest(t, crlf("GET / HTTP/1.0\n"+fields)); h.Upgrade != nil {
		t.Errorf("HTTP/1.0: got %q; want none", h.Upgrade)
	}
}

func TestZerosBeforeALengthGo(t *testing.T) {
	for _, in := range []string{"5", "005"} {
		h := mustRequest(t, crlf("POST / HTTP/1.1\nHost: a\nContent-Length: "+in+"\nX: y\n\n"))
		wantLines(t, h.Fields, "Content-Length: 5", "X: y")
		if h.ContentLength != 5 {
			t.Errorf("%q: got %d; want 5", in, h.ContentLength)
		}
	}
}

func TestExpectationOfHTTP10IsIgnoredAndNotForwarded(t *testing.T) {
	h := mustRequest(t, crlf("POST / HTTP/1.0\nExpect: 100-continue\nContent-Length: 1\n\n"))
	if h.ExpectContinue {
		t.Error("ExpectContinue is set")
	}
	wantLines(t, h.Fields, "Content-Length: 1")
}

func TestEveryPrefixOfARequestNeedsMore(t *testing.T) {
	for i := range benchRequest {
		if n, err := ParseRequestHead([]byte(benchRequest[:i]), new(RequestHead), Limits{}); n != 0 || err != nil {
			t.Fatalf("%d bytes: got %d, %v; want 0, nil", i, n, err)
		}
	}
}

func TestRequestHeadCanBeUsedAgain(t *testing.T) {
	h := mustRequest(t, crlf("POST / HTTP/1.0\nHost: a\nConnection: keep-alive, x\nX: y\nUpgrade: u\nTE: trailers\nContent-Length: 3\n\n"))
	if n, err := ParseRequestHead([]byte("GE"), h, Limits{}); n != 0 || err != nil {
		t.Fatalf("got %d, %v; want 0, nil", n, err)
	}
	in := []byte(crlf("GET /2 HTTP/1.1\nHost: b\nX: z\n\n"))
	for range 2 {
		if n, err := ParseRequestHead(in, h, Limits{}); n != len(in) || err != nil {
			t.Fatalf("got %d, %v; want %d, nil", n, err, len(in))
		}
		if h.ContentLength != -1 || h.KeepAlive10 || h.TETrailers || h.Minor != 1 || string(h.Authority) != "b" {
			t.Errorf("got %+v; want nothing of the request before", h)
		}
		wantLines(t, h.Fields, "X: z")
		h.Reset()
		if h.Method != nil || len(h.Fields) != 0 || h.Fields[:1][0].Name != nil {
			t.Error("Reset keeps parts of the input")
		}
	}
}

func TestSlowSenderCausesNoSecondParse(t *testing.T) {
	in := []byte("GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 4<<10) + "\r\nZ: ")
	var h RequestHead
	again := 0
	for i := range in {
		if h.scanned > 0 && h.mayDecide(in[:i+1], Limits{}.withDefaults()) {
			again++
		}
		if n, err := ParseRequestHead(in[:i+1], &h, Limits{}); n != 0 || err != nil {
			t.Fatal(n, err)
		}
	}
	if again != 1 { // where the request line ends
		t.Errorf("parsed %d times again; want once", again)
	}
}
