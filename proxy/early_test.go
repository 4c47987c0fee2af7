package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
)

// An answer that comes before the body was read ends the connection: the rest of the body is not the next request.
func TestRestOfABodyAnsweredEarlyIsNoRequest(t *testing.T) {
	headc := make(chan string, 100)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		headc <- strings.Fields(readHead(r) + " - -")[1]
		io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		io.Copy(io.Discard, r)
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		c.send(fmt.Sprintf("POST /first HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", 1<<20, strings.Repeat("b", 70<<10)))
		if a := c.read("POST"); a.status != 403 || a.says != "close" {
			t.Errorf("got %d, Connection %q; want 403, close", a.status, a.says)
		}
		io.WriteString(c.nc, "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n") // may fail: the connection ends
		if got := await(t, headc, "the request"); got != "/first" || len(headc) > 0 {
			t.Errorf("the upstream got %s and %d more", got, len(headc))
		}
	})
}
