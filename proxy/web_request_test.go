package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// frames is an HTTP/2 client that sends what it is told, whatever HTTP/2 says of it.
type frames struct {
	t   *testing.T
	fr  *http2.Framer
	enc *hpack.Encoder
	buf bytes.Buffer
	id  uint32
}

func dialFrames(t *testing.T, addr string, config *tls.Config) *frames {
	t.Helper()
	config = config.Clone()
	config.NextProtos = []string{"h2"}
	nc, err := tls.Dial("tcp", addr, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	nc.SetDeadline(time.Now().Add(patience))
	c := &frames{t: t, fr: http2.NewFramer(nc, nc), id: 1}
	c.fr.AllowIllegalWrites = true
	c.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	c.enc = hpack.NewEncoder(&c.buf)
	c.enc.SetMaxDynamicTableSizeLimit(0)
	io.WriteString(nc, http2.ClientPreface)
	c.do(c.fr.WriteSettings())
	return c
}

func (c *frames) do(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

// send begins a stream with these fields, names and values in turn.
func (c *frames) send(isEnd bool, fields ...string) (id uint32) {
	c.t.Helper()
	id = c.id
	c.id += 2
	c.headers(id, isEnd, fields...)
	return id
}

func (c *frames) headers(id uint32, isEnd bool, fields ...string) {
	c.t.Helper()
	c.buf.Reset()
	for i := 0; i < len(fields); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	const most = 16 << 10
	block := c.buf.Bytes()
	first, rest := block[:min(len(block), most)], block[min(len(block), most):]
	c.do(c.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first, EndStream: isEnd, EndHeaders: len(rest) == 0}))
	for len(rest) > 0 {
		n := min(len(rest), most)
		c.do(c.fr.WriteContinuation(id, n == len(rest), rest[:n]))
		rest = rest[n:]
	}
}

// status is that of the stream's response, or how the stream ended.
func (c *frames) status(id uint32) string {
	c.t.Helper()
	for {
		f, err := c.fr.ReadFrame()
		c.do(err)
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			if f.StreamID == id {
				return f.PseudoValue("status")
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return "reset"
			}
		case *http2.GoAwayFrame:
			return "end"
		}
	}
}

// startSecure starts a front for browsers before an upstream: directly, or with a hop between.
func startSecure(t *testing.T, way, upstream string, cfg Config) (f *Front, addr string, client *tls.Config) {
	t.Helper()
	server, client := testTLS(t)
	server.NextProtos = []string{"h2", "http/1.1"}
	cfg.ListenTLS = server
	if way == "hop" {
		p := startPair(t, upstream, cfg, Config{})
		return p.front, p.addr, client
	}
	cfg.To = []string{"http://" + upstream}
	f, addr = startFront(t, cfg)
	return f, addr, client
}

var ways = []string{"direct", "hop"}

// What a client of HTTP/1.1 cannot send, or is refused for, one of HTTP/2 is refused for by the same status.
func TestHTTP2RequestsAreHeldToHTTP1(t *testing.T) {
	const space16K = 16 << 10
	request := func(fields ...string) []string {
		all := map[string]string{":method": "GET", ":scheme": "https", ":authority": "x", ":path": "/"}
		var regular []string
		for i := 0; i < len(fields); i += 2 {
			name, value := fields[i], fields[i+1]
			switch {
			case name[0] != ':':
				regular = append(regular, name, value)
			case value == "":
				delete(all, name)
			default:
				all[name] = value
			}
		}
		var list []string
		for _, name := range slices.Sorted(maps.Keys(all)) {
			list = append(list, name, all[name])
		}
		return append(list, regular...)
	}
	many := func(n int) (fields []string) {
		for range n {
			fields = append(fields, "x", "y")
		}
		return fields
	}
	cases := []struct {
		name   string
		fields []string
		want   string
	}{
		{"a plain one", request(), "200"},
		{"a target in absolute form", request(":path", "http://private.example/x"), "400"},
		{"a target in absolute form of its own host", request(":path", "https://x/"), "400"},
		{"a target of another scheme", request(":path", "ftp://x/"), "400"},
		{"OPTIONS *", request(":method", "OPTIONS", ":path", "*"), "200"},
		{"GET *", request(":path", "*"), "400"},
		{"a space in the target", request(":path", "/a b"), "400"},
		{"no authority", request(":authority", ""), "400"},
		{"Host in its place", request(":authority", "", "host", "x"), "200"},
		{"Host beside it", request("host", "X"), "200"},
		{"another Host", request("host", "y"), "400"},
		{"two Hosts", request(":authority", "", "host", "x", "host", "y"), "400"},
		{"a path in the authority", request(":authority", "x/y"), "400"},
		{"a port too high", request(":authority", "x:65536"), "400"},
		{"a list in the authority", request(":authority", "x, y"), "400"},
		{"CONNECT", request(":method", "CONNECT", ":scheme", "", ":path", "", ":authority", "x:443"), "501"},
		{"a method with a space", request(":method", "GET /y"), "400"},
		{"a method over its limit", request(":method", strings.Repeat("M", 65)), "501"},
		{"the preface's method", request(":method", "PRI"), "400"},
		{"a body that does not come", request(":method", "POST", "content-length", "5"), "400"},
		{"a length of nothing", request(":method", "POST", "content-length", "0"), "200"},
		{"two lengths", request(":method", "POST", "content-length", "0", "content-length", "0"), "400"},
		{"a length that is none", request(":method", "POST", "content-length", "+0"), "400"},
		{"an expectation nobody knows", request("expect", "200-ok"), "417"},
		{"a value that begins with a space", request("x", " y"), "400"},
		{"a value that ends with a tab", request("x", "y\t"), "400"},
		{"a target at its limit", request(":path", "/"+strings.Repeat("a", space16K-1)), "200"},
		{"a target over its limit", request(":path", "/"+strings.Repeat("a", space16K)), "414"},
		{"as many fields as may be", request(many(255)...), "200"},
		{"one field too many", request(many(256)...), "431"},
		{"a name over its limit", request(strings.Repeat("x", 256), "y"), "431"},
		{"a head over its limit", request("x", strings.Repeat("a", 40<<10), "y", strings.Repeat("a", 30<<10)), "431"},
	}
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			var asked atomic.Int64
			up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
				for readHead(r) != "" {
					asked.Add(1)
					io.WriteString(nc, okResponse)
				}
			})
			f, addr, client := startSecure(t, way, up, Config{})
			c := dialFrames(t, addr, client)
			good := int64(0)
			for _, tt := range cases {
				if got := c.status(c.send(true, tt.fields...)); got != tt.want {
					t.Errorf("%s: got %s; want %s", tt.name, got, tt.want)
				}
				if tt.want == "200" {
					good++
				}
			}
			if got := asked.Load(); got != good {
				t.Errorf("the upstream was asked %d times; want %d", got, good)
			}
			st := f.Stats()
			for _, n := range st.Destinations[0].Failures {
				if n.N > 0 {
					t.Errorf("the destination failed %d times: %s", n.N, n.What)
				}
			}
			for _, n := range st.Refusals {
				if n.What == "414" && n.N != 1 || n.What == "417" && n.N != 1 {
					t.Errorf("%d refused by %s; want 1", n.N, n.What)
				}
			}
		})
	}
}

// A request is as long as it says, and has no body where it has none: then it may be sent again, and says nothing of a length.
func TestHTTP2RequestsWithoutABodyAreRepeated(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			var asked atomic.Int64
			headc := make(chan string, 10)
			up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
				for head := readHead(r); head != ""; head = readHead(r) {
					headc <- head
					if asked.Add(1)%2 == 1 { // the first of each
						return
					}
					io.WriteString(nc, okResponse)
				}
			})
			_, addr, client := startSecure(t, way, up, Config{})
			c := dialFrames(t, addr, client)
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				id := c.send(true, ":method", method, ":scheme", "https", ":authority", "x", ":path", "/")
				if got := c.status(id); got != "200" {
					t.Fatalf("%s: got %s; want 200 of the second attempt", method, got)
				}
				for range 2 {
					if head := await(t, headc, "an attempt"); !strings.HasPrefix(head, method+" / ") || strings.Contains(strings.ToLower(head), "content-length") {
						t.Errorf("the upstream got %q; want %s without a length", head, method)
					}
				}
			}
		})
	}
}

func TestHTTP2TrailersAreHeldToHTTP1(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			_, addr, client := startSecure(t, way, startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				if got := fmt.Sprint(r.Trailer["X-A"], r.Trailer["X-B"], r.Trailer["Upgrade"]); got != "[1 2] [3] []" {
					w.WriteHeader(500)
				}
			}), Config{})
			c := dialFrames(t, addr, client)
			for _, tt := range []struct {
				name     string
				trailers []string
				want     string
			}{
				{"two of a name", []string{"x-a", "1", "x-b", "3", "x-a", "2"}, "200"},
				{"one of a connection's", []string{"x-a", "1", "x-b", "3", "x-a", "2", "upgrade", "h2c"}, "200"},
				{"a value that ends with a space", []string{"x-a", "1 "}, "400"},
				{"too many", slices.Repeat([]string{"x-a", "1"}, 257), "431"},
			} {
				id := c.send(false, ":method", "POST", ":scheme", "https", ":authority", "x", ":path", "/", "trailer", "x-b, x-a, upgrade")
				c.do(c.fr.WriteData(id, false, []byte("body")))
				c.headers(id, true, tt.trailers...)
				if got := c.status(id); got != tt.want {
					t.Errorf("%s: got %s; want %s", tt.name, got, tt.want)
				}
			}
		})
	}
}

// Who asks for trailers, as gRPC does, asks the upstream.
func TestHTTP2TETrailersCrosses(t *testing.T) {
	inBrowserBubble(t, Config{}, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.Header.Get("TE"))
	}, func(t *testing.T, b *browser) {
		for _, te := range []string{"trailers", ""} {
			_, got := b.must(200, "GET", "/", nil, func(r *http.Request) {
				if te != "" {
					r.Header.Set("TE", te)
				}
			})
			if string(got) != te {
				t.Errorf("the upstream got TE %q; want %q", got, te)
			}
		}
	})
}

func TestHTTP2IsTheProtocolThatIsTold(t *testing.T) {
	var told journal
	inBrowserBubble(t, Config{OnExchange: told.add}, func(http.ResponseWriter, *http.Request) {}, func(t *testing.T, b *browser) {
		for target, body := range map[string]io.Reader{"/batched": nil, "/streamed": struct{ io.Reader }{strings.NewReader("body")}} {
			target = "/" + t.Name() + target
			b.must(200, "POST", target, body)
			if e := told.find(t, target); e.Protocol != "HTTP/2.0" {
				t.Errorf("%s: got %q; want HTTP/2.0", target, e.Protocol)
			}
		}
	})
}
