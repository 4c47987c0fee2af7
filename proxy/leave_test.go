package proxy

import (
	"bufio"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// leaving is a way for a client to be gone while nobody reads from its connection.
type leaving struct {
	name string
	send string // what the upstream sees begin
	then string // what comes behind it, and is never to reach the upstream
}

var leavings = []leaving{
	{"a pipelined request", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", secondLine},
	{"many pipelined requests", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat(secondLine, 1000)},
	{"a bad one", "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n", "GET /second HTTP/1.1\r\n\r\n"},
	{"a request behind an upload", "POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("b", 100_000), secondLine},
	{"a request behind chunks", "POST /slow HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + strings.Repeat("b", 70_000) + "\r\n0\r\n\r\n", secondLine},
	{"an Upgrade not answered", "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n\r\n", ""},
	{"an Upgrade not answered, and what it would send", "GET /slow HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n\r\n", "early"},
}

const secondLine = "GET /second HTTP/1.1\r\nHost: x\r\n\r\n"

// Bytes that nobody reads stand before the end of a client that leaves, and its exchange ends all the same. A client
// that ends its side only is taken for gone too.
func TestClientThatLeavesUnreadBytesEndsItsUpstreamRequest(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("unread bytes hide the end of a client")
	}
	come, ended := make(chan string, 100), make(chan string, 100)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if head == "" {
			return
		}
		target := strings.Fields(head)[1]
		come <- target
		io.Copy(io.Discard, r)
		ended <- target
	})
	ways := []func(nc *net.TCPConn){
		func(nc *net.TCPConn) { nc.Close() },
		func(nc *net.TCPConn) { nc.SetLinger(0); nc.Close() },
		func(nc *net.TCPConn) { nc.CloseWrite() },
	}
	eachPair(t, up, func(t *testing.T, addr string) {
		var clients []*lineClient
		for _, l := range leavings {
			for range ways {
				c := dialClient(t, addr)
				c.send(l.send + l.then)
				await(t, come, l.name)
				clients = append(clients, c)
			}
		}
		for i, c := range clients { // all at once: each takes half a second to be noticed
			ways[i%len(ways)](c.nc.(*net.TCPConn))
		}
		for range clients {
			await(t, ended, "the upstream's end")
		}
	})
	select {
	case target := <-come:
		t.Errorf("%s reached the upstream", target)
	default:
	}
}

// Nor does it matter that the upstream takes nothing of the body any more.
func TestClientThatLeavesAStuckUploadIsNoticed(t *testing.T) {
	release := make(chan struct{})
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		readHead(r)
		<-release
	})
	defer close(release)
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	c.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
	c.nc.SetWriteDeadline(time.Now().Add(time.Second))
	for err := error(nil); err == nil; { // until nothing moves
		_, err = c.nc.Write(make([]byte, 1<<20))
	}
	c.nc.(*net.TCPConn).SetLinger(0)
	c.nc.Close()
	awaitNone(t, p.front.route)
	awaitNone(t, p.back.route)
}
