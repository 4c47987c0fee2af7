package pool

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"
)

func isHeaderError(err error) bool {
	_, ok := errors.AsType[*HeaderError](err)
	return ok
}

// echoes reports whether a stream carries bytes there and back.
func echoes(s *Stream) bool {
	p := []byte("x")
	if _, err := s.Write(p); err != nil {
		return false
	}
	_, err := io.ReadFull(s, p)
	return err == nil
}

// A header section that the peer does not take, of a request or an answer, fails at its caller:
// nothing is sent, and the other streams go on.
func TestHeaderTooLargeForThePeerIsNotSent(t *testing.T) {
	ln := listen(t)
	refused := make(chan error, 10)
	startServer(t, ln, func(s *Stream) {
		if s.Header().Path == "/large" {
			refused <- s.Respond(200, Field{Name: "x", Value: strings.Repeat("v", 20<<10)})
			s.Refuse(500, "")
			return
		}
		echo(s)
	})
	cl := startClient(t, ln)
	other, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{16 << 10, 20 << 10, 2 << 20} {
		for name, fields := range map[string][]Field{
			"one field":   {{Name: "x", Value: strings.Repeat("v", n)}},
			"many fields": slices.Repeat([]Field{{Name: "xx", Value: "vv"}}, n/36),
		} {
			if _, err := cl.Open(t.Context(), Header{Path: "/", Fields: fields}, nil); !isHeaderError(err) {
				t.Errorf("%s of %d bytes: got %v; want a HeaderError", name, n, err)
			}
		}
	}
	_, err = cl.Open(t.Context(), Header{Path: "/large"}, nil)
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 500 {
		t.Errorf("an answer that was too large, and another: got %v; want status 500", err)
	}
	if err := <-refused; !isHeaderError(err) {
		t.Errorf("an answer that is too large: got %v; want a HeaderError", err)
	}
	if !echoes(other) {
		t.Error("the other stream is over")
	}
	if st := cl.Stats(); st.Dials != 1 || st.Errors != 0 {
		t.Errorf("got %+v; want one dial and no error", st)
	}
}

// A peer that sends one all the same loses that stream alone, as long as what it sent can be
// decoded: both ends' tables stay the same.
func TestHeaderListOverTheLimitEndsItsStreamAlone(t *testing.T) {
	large := strings.Repeat("v", 20<<10)
	t.Run("request", func(t *testing.T) {
		ln := listen(t)
		startServer(t, ln, echo)
		p := scriptedClient(t, ln)
		p.request(1, false)
		p.headers(3, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "x", large, "y", "kept in the table")
		p.wantReset(3, codeCalm)
		p.headers(5, false, ":method", "POST", ":scheme", "http", ":authority", "x", ":path", "/", "y", "kept in the table")
		p.do("DATA", p.fr.WriteData(5, false, []byte("new")))
		p.wantData(5, "new")
		p.do("DATA", p.fr.WriteData(1, false, []byte("old")))
		p.wantData(1, "old")
	})
	t.Run("answer", func(t *testing.T) {
		ln := listen(t)
		defer ln.Close()
		cl := startClient(t, ln)
		errc := make(chan error, 2)
		open := func() {
			s, err := cl.Open(t.Context(), Header{Path: "/"}, nil)
			if err == nil {
				_, err = io.ReadFull(s, make([]byte, 1))
			}
			errc <- err
		}
		go open()
		p := scriptedServer(t, ln)
		p.want("HEADERS", func(f http2.Frame) bool { return f.Header().Type == http2.FrameHeaders })
		p.headers(1, false, ":status", "200", "x", large)
		p.wantReset(1, codeCalm)
		if re, ok := errors.AsType[*ResetError](<-errc); !ok || !re.Local || re.Code != codeCalm {
			t.Errorf("got %v; want a reset of this end's", re)
		}
		go open()
		p.want("HEADERS", func(f http2.Frame) bool { return f.Header().Type == http2.FrameHeaders })
		p.headers(3, false, ":status", "200")
		p.do("DATA", p.fr.WriteData(3, false, []byte("x")))
		if err := <-errc; err != nil {
			t.Errorf("the next stream: got %v", err)
		}
	})
}

// What would be malformed is named, and not sent.
func TestMalformedHeadersAreTheCallersError(t *testing.T) {
	ln := listen(t)
	startServer(t, ln, func(s *Stream) { s.Respond(200) })
	cl := startClient(t, ln)
	field := func(name, value string) Header { return Header{Path: "/", Fields: []Field{{Name: name, Value: value}}} }
	for _, tt := range []struct {
		name string
		h    Header
		want string // in the error; "" is none
	}{
		{"as it should be", field("x-a", "b\tc"), ""},
		{"OPTIONS *", Header{Method: "OPTIONS", Path: "*"}, ""},
		{"te: trailers", field("te", "trailers"), ""},
		{"no path", Header{}, "path is empty"},
		{"a path that is none", Header{Path: "x"}, `path "x"`},
		{"* of another method", Header{Path: "*"}, `path "*"`},
		{"a space in the path", Header{Path: "/a b"}, `path "/a b"`},
		{"a line end in the path", Header{Path: "/a\r\nb"}, `path "/a\r\nb"`},
		{"a method of two words", Header{Path: "/", Method: "GET /x"}, `method "GET /x"`},
		{"CONNECT", Header{Path: "/", Method: "CONNECT"}, `method "CONNECT"`},
		{"a space in the authority", Header{Path: "/", Authority: "a b"}, `authority "a b"`},
		{"a user in the authority", Header{Path: "/", Authority: "u@a"}, `authority "u@a"`},
		{"an upper-case name", field("X-A", "b"), `"X-A" is not in lower case`},
		{"an empty name", field("", "b"), `"" is no field's name`},
		{"a space in a name", field("x a", "b"), `"x a" is no field's name`},
		{"a pseudo-header field", field(":path", "/b"), `":path" among the fields`},
		{"a line end in a value", field("x", "a\r\nb: c"), `value of field "x"`},
		{"a zero in a value", field("x", "a\x00"), `value of field "x"`},
		{"a space before a value", field("x", " a"), `value of field "x"`},
		{"connection", field("connection", "close"), `"connection" is of HTTP/1.1`},
		{"upgrade", field("upgrade", "x"), `"upgrade" is of HTTP/1.1`},
		{"te", field("te", "gzip"), `"te" is of HTTP/1.1`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := cl.Open(t.Context(), tt.h, nil)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("got %v; want none", err)
			case tt.want == "":
				s.Close()
			case !isHeaderError(err) || !strings.Contains(err.Error(), tt.want):
				t.Errorf("got %v; want a HeaderError with %s", err, tt.want)
			}
		})
	}
	if st := cl.Stats(); st.Dials != 1 || st.Errors != 0 {
		t.Errorf("got %+v; want one dial and no error", st)
	}
}

// Only a final status answers a stream; after an error another may.
func TestStatusOfAnAnswerIsFinal(t *testing.T) {
	for _, status := range []int{-5, 0, 99, 100, 101, 199, 1000} {
		ln := listen(t)
		errc := make(chan error, 2)
		startServer(t, ln, func(s *Stream) {
			errc <- s.Respond(status)
			errc <- s.Refuse(status, "no\n")
			s.Refuse(404, "no\n")
		})
		_, err := startClient(t, ln).Open(t.Context(), Header{Path: "/"}, nil)
		if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 404 {
			t.Errorf("%d: got %v; want the status 404 that came after it", status, err)
		}
		for _, call := range []string{"Respond", "Refuse"} {
			if err := <-errc; !isHeaderError(err) {
				t.Errorf("%s(%d): got %v; want a HeaderError", call, status, err)
			}
		}
	}
}
