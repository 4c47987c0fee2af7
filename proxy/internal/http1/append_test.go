package http1

import (
	"net/http"
	"strings"
	"testing"
)

func field(name, value string) Field { return Field{Name: []byte(name), Value: []byte(value)} }

func TestAppendRequest(t *testing.T) {
	fields := []Field{field("X", "y"), field("Content-Length", "3"), field("empty", "")}
	for _, tc := range []struct {
		hop  Hop
		want string
	}{
		{0, "PUT /x HTTP/1.1\nHost: a:1\nX: y\nContent-Length: 3\nempty: \n\n"},
		{HopChunked | HopClose, "PUT /x HTTP/1.1\nHost: a:1\nX: y\nempty: \nTransfer-Encoding: chunked\nConnection: close\n\n"},
	} {
		got := AppendRequest([]byte("before"), []byte("PUT"), []byte("/x"), []byte("a:1"), fields, tc.hop)
		if string(got) != "before"+crlf(tc.want) {
			t.Errorf("hop %d: got %q; want %q", tc.hop, got, crlf(tc.want))
		}
	}
}

func TestAppendResponseHead(t *testing.T) {
	for _, tc := range []struct {
		status int
		reason []byte
		hop    Hop
		want   string
	}{
		{200, nil, 0, "HTTP/1.1 200 OK\nX: y\n\n"},
		{200, []byte{}, 0, "HTTP/1.1 200 \nX: y\n\n"},
		{404, []byte("Nope"), HopKeepAlive, "HTTP/1.1 404 Nope\nX: y\nConnection: keep-alive\n\n"},
		{799, nil, HopKeepAlive | HopClose, "HTTP/1.1 799 \nX: y\nConnection: close\n\n"},
		{0, []byte("Nope"), 0, "HTTP/1.1 502 Bad Gateway\nX: y\n\n"},
	} {
		got := AppendResponseHead(nil, tc.status, tc.reason, []Field{field("X", "y")}, tc.hop)
		if string(got) != crlf(tc.want) {
			t.Errorf("got %q; want %q", got, crlf(tc.want))
		}
	}
}

func TestNoControlByteIsEverWrittenIntoAHead(t *testing.T) {
	evil := "a\r\nX: y\r\n\r\nGET / HTTP/1.1\x00\x7f\n"
	spaced := "a  X: y    GET / HTTP/1.1   "
	for _, tc := range []struct{ got, want string }{
		{string(AppendField(nil, "N", evil)), "N: " + spaced + "\r\n"},
		{string(AppendField(nil, evil, "v")), spaced + ": v\r\n"},
		{string(AppendField(nil, "N", "a\tb")), "N: a\tb\r\n"},
		{string(AppendStatusLine(nil, 200, []byte(evil))), "HTTP/1.1 200 " + spaced + "\r\n"},
		{string(AppendRequestLine(nil, []byte(evil), []byte(evil), []byte(evil))),
			spaced + " " + spaced + " HTTP/1.1\r\nHost: " + spaced + "\r\n"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q; want %q", tc.got, tc.want)
		}
	}
}

func TestAppendChunks(t *testing.T) {
	p := AppendChunk(nil, []byte("hello"))
	p = AppendChunk(p, nil)
	p = AppendChunkSize(p, 26)
	p = append(p, strings.Repeat("z", 26)+"\r\n"...)
	p = AppendLastChunk(p, []Field{field("X", "y\n")})
	want := "5\r\nhello\r\n1a\r\n" + strings.Repeat("z", 26) + "\r\n0\r\nX: y \r\n\r\n"
	if string(p) != want {
		t.Errorf("got %q; want %q", p, want)
	}
}

func TestStatusTextIsTheStandardOne(t *testing.T) {
	renamed := map[int]string{ // by RFC 9110, after net/http froze its own
		413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content",
	}
	for status := -1; status < 1001; status++ {
		want := http.StatusText(status)
		if status == http.StatusTeapot {
			want = "" // reserved as unused
		}
		if s, ok := renamed[status]; ok {
			want = s
		}
		if got := StatusText(status); got != want {
			t.Errorf("%d: got %q; want %q", status, got, want)
		}
	}
}

func TestIsValidField(t *testing.T) {
	for _, tc := range []struct {
		name, value string
		want        bool
	}{
		{"X-a", "b\tc\xff", true}, {"X", "", true}, {strings.Repeat("x", 255), "y", true},
		{"", "y", false}, {"X:", "y", false}, {"X ", "y", false}, {strings.Repeat("x", 256), "y", false},
		{"X", "a\rb", false}, {"X", "a\n", false}, {"X", "\x00", false}, {"X", " a", false}, {"X", "a\t", false},
	} {
		if got := IsValidField([]byte(tc.name), []byte(tc.value)); got != tc.want {
			t.Errorf("%q: %q: got %v; want %v", tc.name, tc.value, got, tc.want)
		}
	}
}

func TestIsHopByHop(t *testing.T) {
	for _, name := range []string{"CONNECTION", "host", "Te", "Upgrade", "Keep-Alive", "proxy-connection", "Proxy-Authorization",
		"Proxy-Authenticate", "Proxy-Authentication-Info", "Transfer-Encoding", "HTTP2-Settings"} {
		if !IsHopByHop([]byte(name)) {
			t.Errorf("%s crosses; want it not to", name)
		}
	}
	for _, name := range []string{"", "Content-Length", "Expect", "Trailer", "Via", "Hosts", "Content-Lengtx", "WWW-Authenticate"} {
		if IsHopByHop([]byte(name)) {
			t.Errorf("%s does not cross; want it to", name)
		}
	}
}
