package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What a simulated upstream does with a request, by a letter in its path.
const (
	simAnswer    = 'a' // once it has the whole body
	simEarly     = 'b' // before the body, which it then reads
	simChunks    = 'c' // chunked, with a trailer
	simUntilEnd  = 'd' // a body that ends with the connection
	simInterim   = 'e' // after a 103
	simSlow      = 'f' // after some time
	simDrip      = 'g' // a body that comes in pieces
	simLast      = 'h' // on a connection that it then closes
	simSick      = 'i' // 503
	simLeave     = 'j' // it closes the connection instead of reading the body
	simSilent    = 'k' // it reads all, and closes the connection
	simShort     = 'l' // it closes the connection in the response
	simStall     = 'm' // it does not answer, for longer than anyone waits
	simNonsense  = 'n' // what it says is no HTTP
	simEarlyLeft = 'o' // it answers before the body, and closes the connection
	simGood      = "abcdefgh"
	simBad       = "ijklmno"
)

// simUpstream is a scripted HTTP/1.1 server.
type simUpstream struct {
	w    *simWorld
	addr string

	mu       sync.Mutex // guards all below
	ln       net.Listener
	conns    map[net.Conn]bool // whether it has a request
	isEnding bool
	wg       sync.WaitGroup
}

func (u *simUpstream) start() {
	u.mu.Lock()
	u.ln, u.conns, u.isEnding = u.w.net.listen(u.addr), make(map[net.Conn]bool), false
	ln := u.ln
	u.mu.Unlock()
	u.wg.Go(func() { u.acceptLoop(ln) })
}

func (u *simUpstream) acceptLoop(ln net.Listener) {
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		u.mu.Lock()
		u.conns[nc] = false
		u.mu.Unlock()
		u.wg.Go(func() {
			defer nc.Close()
			r := bufio.NewReader(nc)
			for u.serve(nc, r) {
			}
			u.mu.Lock()
			delete(u.conns, nc)
			u.mu.Unlock()
		})
	}
}

// stop ends it: at once, or when what it has is answered.
func (u *simUpstream) stop(drains bool) {
	u.mu.Lock()
	u.ln.Close()
	u.isEnding = true
	for nc, isBusy := range u.conns {
		if !drains || !isBusy {
			nc.Close()
		}
	}
	u.mu.Unlock()
	if drains {
		timer := time.AfterFunc(2*time.Second, func() { u.w.net.kill(u.addr) })
		defer timer.Stop()
	} else {
		u.w.net.kill(u.addr)
	}
	u.wg.Wait()
}

// enter notes whether a connection has a request; false when it is to close.
func (u *simUpstream) enter(nc net.Conn, isBusy bool) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns[nc] = isBusy
	return isBusy || !u.isEnding
}

func (u *simUpstream) serve(nc net.Conn, r *bufio.Reader) bool {
	if !u.enter(nc, false) {
		return false
	}
	req, err := http.ReadRequest(r)
	if err != nil {
		return false
	}
	u.enter(nc, true)
	if req.URL.Path == "/check" {
		_, err := io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		return err == nil
	}
	x, err := parseSimExchange(req)
	if err != nil {
		u.w.t.Errorf("the upstream was asked %s %s: %v", req.Method, req.URL, err)
		return false
	}
	u.w.ran(x)
	if !u.answer(nc, req, x) || req.Close {
		if x.script == simLast || x.script == simUntilEnd {
			linger(nc)
		}
		return false
	}
	return true
}

// linger lets what is on its way come, so that it does not reset the connection under the response (RFC 9112 9.6).
func linger(nc net.Conn) {
	nc.(*simConn).CloseWrite()
	nc.SetReadDeadline(time.Now().Add(time.Second))
	io.Copy(io.Discard, nc)
}

// answer does what the request asks for, and reports whether the connection goes on.
func (u *simUpstream) answer(nc net.Conn, req *http.Request, x simExchange) bool {
	switch x.script {
	case simLeave:
		return false
	case simNonsense:
		io.WriteString(nc, "HTTP/1.1 2\x00\r\n\r\n")
		return false
	case simEarlyLeft:
		u.respond(nc, x, "Connection: close\r\n")
		return false
	case simEarly:
		return u.respond(nc, x, "") && u.readBody(req, x)
	}
	if !u.readBody(req, x) {
		return false
	}
	switch x.script {
	case simSilent:
		return false
	case simStall:
		io.Copy(io.Discard, nc) // until the one who asked leaves
		return false
	case simSlow:
		time.Sleep(time.Duration(x.id%1500) * time.Millisecond)
	case simInterim:
		if _, err := io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"); err != nil {
			return false
		}
		time.Sleep(time.Duration(x.id%20) * time.Millisecond)
	case simLast:
		u.respond(nc, x, "Connection: close\r\n")
		return false
	}
	return u.respond(nc, x, "")
}

// readBody reads the request's body, and tells whether it was whole; it is the exchange's own
// as far as it goes.
func (u *simUpstream) readBody(req *http.Request, x simExchange) bool {
	got, err := io.ReadAll(req.Body)
	if !isPartOf(x.id, got) {
		u.w.t.Errorf("%v: the upstream had %d bytes that are not its own", x, len(got))
	}
	if err == nil && len(got) != x.sent {
		u.w.t.Errorf("%v: the upstream took %d bytes for whole; want %d", x, len(got), x.sent)
	}
	return err == nil
}

// respond writes the response in the form the script asks for.
func (u *simUpstream) respond(nc net.Conn, x simExchange, more string) bool {
	status := "200 OK"
	if x.script == simSick {
		status = "503 Service Unavailable"
	}
	head := fmt.Sprintf("HTTP/1.1 %s\r\nX-Id: %d\r\n%s", status, x.id, more)
	body := bodyOf(x.id, x.want)
	framing, tail := fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)), ""
	switch {
	case x.method == "HEAD":
		body = nil
	case x.script == simChunks:
		framing, tail = "Transfer-Encoding: chunked\r\n\r\n", fmt.Sprintf("0\r\nX-Last: %d\r\n\r\n", x.id)
		var b []byte
		for len(body) > 0 {
			n := min(len(body), 1+37*x.id%9000)
			b = append(fmt.Appendf(b, "%x\r\n", n), body[:n]...)
			b, body = append(b, "\r\n"...), body[n:]
		}
		body = b
	case x.script == simUntilEnd:
		framing = "Connection: close\r\n\r\n"
	}
	p := append(append([]byte(head+framing), body...), tail...)
	if x.script == simShort {
		p = p[:x.id%len(p)]
	}
	if x.script == simDrip {
		for k := 1 + len(p)/7; len(p) > k; p = p[k:] {
			if _, err := nc.Write(p[:k]); err != nil {
				return false
			}
			time.Sleep(time.Duration(x.id%30) * time.Millisecond)
		}
	}
	_, err := nc.Write(p)
	return err == nil && x.script != simShort && (x.script != simUntilEnd || x.method == "HEAD")
}

// simExchange is what a request and its response have to be.
type simExchange struct {
	id     int // of which both bodies are made
	method string
	script byte
	sent   int // size of the request's body
	want   int // size of the response's
}

func (x simExchange) path() string {
	return fmt.Sprintf("/%d/%c/%d/%d", x.id, x.script, x.sent, x.want)
}

func (x simExchange) String() string { return x.method + " " + x.path() }

func parseSimExchange(req *http.Request) (x simExchange, err error) {
	parts := strings.Split(req.URL.Path, "/")
	if len(parts) != 5 || len(parts[2]) != 1 {
		return x, fmt.Errorf("not a path of ours")
	}
	x.method, x.script = req.Method, parts[2][0]
	for i, to := range map[int]*int{1: &x.id, 3: &x.sent, 4: &x.want} {
		if *to, err = strconv.Atoi(parts[i]); err != nil {
			return x, err
		}
	}
	return x, nil
}
