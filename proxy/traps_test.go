package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valyala/fasthttp"
)

// traps are what a proxy made of fasthttp's server and client, as they come, falls
// into; each function reports whether the proxy at addr did. Those of ARCHITECTURE's
// table, which has a closer test for each.
var traps = []struct {
	name   string
	script func(nc net.Conn, r *bufio.Reader, head string) // the upstream's, for each request until it closes
	falls  func(t *testing.T, addr string, up trapUpstream) bool
}{
	{"the rest of a body answered early is a request", okTrap, func(t *testing.T, addr string, up trapUpstream) bool {
		rest := strings.Repeat("b", 8<<10) + "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n"
		c := dialClient(t, addr)
		c.send("POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + rest)
		c.read("POST")
		return has(up.headc, "GET /hidden")
	}},
	{"a body cut short is whole", okTrap, func(t *testing.T, addr string, up trapUpstream) bool {
		for _, cut := range []string{
			"Content-Length: 10\r\n\r\nhalf",
			"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
			"Transfer-Encoding: chunked\r\n\r\n4\r\nha",
		} {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			io.WriteString(nc, "POST /cut HTTP/1.1\r\nHost: x\r\n"+cut)
			nc.(*net.TCPConn).CloseWrite()
			nc.SetReadDeadline(time.Now().Add(5 * time.Second))
			got, _ := io.ReadAll(nc)
			nc.Close()
			if strings.HasPrefix(string(got), "HTTP/1.1 200 ") {
				return true // the upstream answers 200 to a whole body only
			}
		}
		return false
	}},
	{"Connection is one word in one case", okTrap, func(t *testing.T, addr string, _ trapUpstream) bool {
		for _, words := range []string{"Close", "TE, close"} {
			c := dialClient(t, addr)
			c.send("GET / HTTP/1.1\r\nHost: x\r\nConnection: " + words + "\r\n\r\n")
			c.read("GET")
			c.nc.SetReadDeadline(time.Now().Add(3 * time.Second))
			if _, err := c.r.ReadByte(); err != io.EOF {
				return true
			}
		}
		return false
	}},
	{"100 Continue comes before the upstream's answer", okTrap, func(t *testing.T, addr string, _ trapUpstream) bool {
		c := dialClient(t, addr)
		c.send("POST /early HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
		return c.read("POST").status == 100
	}},
	{"1xx are swallowed", func(nc net.Conn, _ *bufio.Reader, _ string) {
		io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"+okResponse)
	}, func(t *testing.T, addr string, _ trapUpstream) bool {
		return dialClient(t, addr).get("/").status != 103
	}},
	{"a request is repeated more than once", func(nc net.Conn, _ *bufio.Reader, _ string) { nc.Close() },
		func(t *testing.T, addr string, up trapUpstream) bool {
			c := dialClient(t, addr)
			c.send("PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
			c.read("PUT")
			return len(up.headc) > 1
		}},
	{"fields are moved", okTrap, func(t *testing.T, addr string, up trapUpstream) bool {
		c := dialClient(t, addr)
		c.send("GET / HTTP/1.1\r\nHost: x\r\nA: 1\r\nUser-Agent: u\r\nB: 2\r\nCookie: c=1\r\nC: 3\r\n\r\n")
		c.read("GET")
		return !strings.Contains(await(t, up.headc, "request"), "\r\nA: 1\r\nUser-Agent: u\r\nB: 2\r\nCookie: c=1\r\nC: 3\r\n")
	}},
	{"a POST on a connection just closed is lost", func(nc net.Conn, r *bufio.Reader, _ string) {
		io.CopyN(io.Discard, r, 4)
		io.WriteString(nc, okResponse)
		nc.Close() // idle, and closed without a word
	}, func(t *testing.T, addr string, up trapUpstream) bool {
		c := dialClient(t, addr)
		for range 5 {
			if c.post("/", "body").status != 200 {
				return true
			}
			await(t, up.closedc, "close") // a POST on its way at the same time is lost by everybody
		}
		return false
	}},
}

// trapUpstream tells what an upstream has seen.
type trapUpstream struct {
	headc   chan string   // requests' heads
	closedc chan struct{} // connections that are closed
}

// okTrap answers 403 to /early without its body, and 200 to others.
func okTrap(nc net.Conn, r *bufio.Reader, head string) {
	if strings.Contains(head, " /early ") {
		io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, r)
		return
	}
	var n int64
	if _, rest, ok := strings.Cut(head, "\r\nContent-Length: "); ok {
		fmt.Sscan(rest, &n)
	} else if strings.Contains(head, "chunked") {
		for line := ""; line != "0\r\n"; {
			var err error
			if line, err = r.ReadString('\n'); err != nil {
				return
			}
		}
		n = 2
	}
	if _, err := io.CopyN(io.Discard, r, n); err == nil {
		io.WriteString(nc, okResponse)
	}
}

// has reports whether a request with that beginning comes, or did.
func has(headc <-chan string, begin string) bool {
	for timeout := time.After(300 * time.Millisecond); ; {
		select {
		case head := <-headc:
			if strings.HasPrefix(head, begin) {
				return true
			}
		case <-timeout:
			return false
		}
	}
}

// startPlain is a proxy of fasthttp's parts, as anybody would write it.
func startPlain(t *testing.T, up string) string {
	client := fasthttp.HostClient{Addr: up}
	srv := fasthttp.Server{
		StreamRequestBody:  true,
		MaxRequestBodySize: 8 << 10, // what is larger is streamed
		Handler: func(ctx *fasthttp.RequestCtx) {
			if string(ctx.Path()) == "/early" {
				ctx.SetStatusCode(403)
				return
			}
			ctx.Request.Body()
			if client.Do(&ctx.Request, &ctx.Response) != nil {
				ctx.SetStatusCode(502)
			}
		},
	}
	ln := listenTCP(t)
	donec := make(chan error, 1)
	go func() { donec <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Shutdown()
		<-donec
		client.CloseIdleConnections()
	})
	return ln.Addr().String()
}

// A pair falls into none of them, and they are no traps of our own making.
func TestTrapsOfFasthttp(t *testing.T) {
	for _, trap := range traps {
		t.Run(trap.name, func(t *testing.T) {
			for _, isPlain := range []bool{false, true} {
				seen := trapUpstream{headc: make(chan string, 100), closedc: make(chan struct{}, 100)}
				up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
					for head := readHead(r); head != ""; head = readHead(r) {
						seen.headc <- head
						trap.script(nc, r, head)
					}
					nc.Close()
					seen.closedc <- struct{}{}
				})
				var addr string
				if isPlain {
					addr = startPlain(t, up)
				} else {
					addr = startPair(t, up, Config{}, Config{}).addr
				}
				if got := trap.falls(t, addr, seen); got != isPlain {
					t.Errorf("plain fasthttp %v: falls into it %v", isPlain, got)
				}
			}
		})
	}
}
