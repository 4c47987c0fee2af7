package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// simClient asks over one connection after another, and judges what it is answered.
type simClient struct {
	w      *simWorld
	name   int
	random *rand.Rand
	isCalm bool // nothing is broken: all must succeed

	count int
	nc    net.Conn
	r     *bufio.Reader
	used  time.Time // last
}

// simPatience is longer than any exchange may take.
const simPatience = 2 * time.Minute

func (c *simClient) run(exchanges int) {
	for c.count < exchanges {
		if !c.isWild() || c.random.IntN(3) > 0 {
			time.Sleep(time.Duration(c.random.IntN(50)) * time.Millisecond)
		}
		switch k := c.random.IntN(10); {
		case k == 0 && !c.isCalm && c.w.kind == wild:
			c.pipeline(2 + c.random.IntN(4))
		case k == 1:
			c.call(c.next())
		default:
			c.ask(c.next())
		}
	}
	c.hangUp()
}

// next makes up an exchange.
func (c *simClient) next() simExchange {
	c.count++
	x := simExchange{id: c.name*1000 + c.count, method: "GET", script: simGood[c.random.IntN(len(simGood))]}
	if c.isWild() && c.random.IntN(6) == 0 {
		x.script = simBad[c.random.IntN(len(simBad))]
	}
	switch c.random.IntN(20) {
	case 0:
		x.method = "HEAD"
	case 1:
		x.method = "PUT"
	case 2, 3, 4, 5, 6, 7, 8, 9:
		x.method = "POST"
	}
	if x.method == "POST" || x.method == "PUT" {
		x.sent = bodySizes[c.random.IntN(len(bodySizes))]
	}
	x.want = bodySizes[c.random.IntN(len(bodySizes))]
	if c.random.IntN(2) == 0 { // most are small
		x.sent, x.want = x.sent%200, x.want%200
	}
	return x
}

// isWild reports whether anything may happen, the client's own leaving included.
func (c *simClient) isWild() bool { return !c.isCalm && c.w.kind == wild }

// mustSucceed reports whether there is no excuse for a failure of x.
func (c *simClient) mustSucceed(x simExchange) bool {
	switch {
	case c.isCalm || c.w.kind == polite:
		return true
	case c.w.kind == wild || !isSafeMethod([]byte(x.method)):
		return false
	}
	// Its response is whole before the first byte of it goes to the client.
	return x.want < 1000 && (x.script == simAnswer || x.script == simSlow || x.script == simLast)
}

func (c *simClient) hangUp() {
	if c.nc != nil {
		c.nc.Close()
	}
	c.nc, c.r = nil, nil
}

func (c *simClient) dial() error {
	if !c.isWild() && time.Since(c.used) > 200*time.Millisecond {
		c.hangUp() // the front may close it at this moment, which only a client that asks again survives
	}
	if c.nc != nil {
		return nil
	}
	nc, err := c.w.outer.dial("tcp", simFront, time.Second)
	if err == nil {
		c.nc, c.r = nc, bufio.NewReader(nc)
	} else if !c.isWild() {
		c.w.t.Errorf("client %d: %v", c.name, err)
	} else {
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// ask makes an exchange by HTTP/1.1.
func (c *simClient) ask(x simExchange) {
	if c.dial() != nil {
		return
	}
	nc := c.nc
	var wg sync.WaitGroup
	isChunked, pause := c.random.IntN(3) == 0, time.Duration(0)
	if c.random.IntN(4) == 0 {
		pause = time.Duration(c.random.IntN(20)) * time.Millisecond
	}
	wg.Go(func() { writeSimRequest(nc, x, isChunked, pause) })
	leaveAt := -1
	if c.isWild() && c.random.IntN(12) == 0 {
		leaveAt = c.random.IntN(x.want + 300)
		time.AfterFunc(time.Duration(c.random.IntN(3000))*time.Millisecond, func() { nc.Close() })
	}
	if !c.answer(x, leaveAt) {
		nc.Close()
		c.hangUp()
	}
	wg.Wait()
}

// pipeline sends several requests at once.
func (c *simClient) pipeline(n int) {
	if c.dial() != nil {
		return
	}
	var p []byte
	var list []simExchange
	for range n {
		x := c.next()
		x.method, x.sent = "GET", 0
		list = append(list, x)
		p = fmt.Appendf(p, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", x.path())
	}
	c.nc.Write(p)
	for _, x := range list {
		if !c.answer(x, -1) {
			c.hangUp()
			return
		}
	}
}

func writeSimRequest(nc net.Conn, x simExchange, isChunked bool, pause time.Duration) {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\n", x.method, x.path())
	switch {
	case x.method == "GET" || x.method == "HEAD":
		io.WriteString(nc, head+"\r\n")
		return
	case isChunked:
		head += "Transfer-Encoding: chunked\r\n\r\n"
	default:
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", x.sent)
	}
	if _, err := io.WriteString(nc, head); err != nil {
		return
	}
	for p := bodyOf(x.id, x.sent); len(p) > 0; {
		out := p[:min(len(p), 30_000)]
		p = p[len(out):]
		if isChunked {
			out = append(fmt.Appendf(nil, "%x\r\n", len(out)), append(out[:len(out):len(out)], "\r\n"...)...)
		}
		if _, err := nc.Write(out); err != nil {
			return
		}
		time.Sleep(pause)
	}
	if isChunked {
		io.WriteString(nc, "0\r\n\r\n")
	}
}

// answer reads the response, and reports whether the connection goes on. With leaveAt of 0 or
// more the client leaves after so many bytes of the body.
func (c *simClient) answer(x simExchange, leaveAt int) bool {
	c.nc.SetReadDeadline(time.Now().Add(simPatience))
	req := &http.Request{Method: x.method}
	resp, err := http.ReadResponse(c.r, req)
	for err == nil && resp.StatusCode < 200 {
		if x.script != simInterim && resp.StatusCode != 100 {
			c.w.t.Errorf("%v: a %d that its upstream did not send", x, resp.StatusCode)
		}
		resp, err = http.ReadResponse(c.r, req)
	}
	if err != nil {
		c.judge(x, 0, nil, nil, err, leaveAt >= 0)
		return false
	}
	body := io.Reader(resp.Body)
	if leaveAt >= 0 {
		body = io.LimitReader(body, int64(leaveAt))
	}
	got, err := io.ReadAll(body)
	resp.Body.Close()
	if leaveAt >= 0 && err == nil {
		err = net.ErrClosed
	}
	if err == nil && resp.StatusCode == 200 && x.script == simChunks && x.method != "HEAD" && resp.Trailer.Get("X-Last") != strconv.Itoa(x.id) {
		c.w.t.Errorf("%v: the trailer is %v", x, resp.Trailer)
	}
	c.judge(x, resp.StatusCode, resp.Header, got, err, leaveAt >= 0)
	c.used = time.Now()
	return err == nil && !resp.Close
}

// judge says whether an exchange may end as it did.
func (c *simClient) judge(x simExchange, status int, h http.Header, got []byte, err error, hasLeft bool) {
	id := h.Get("X-Id")
	isWhole := err == nil && status > 0
	c.w.ended(x, status, isWhole)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		if sc, ok := c.nc.(*simConn); !ok || !sc.isBroken() {
			c.w.t.Errorf("%v: it did not end; had %d and %d bytes", x, status, len(got))
		}
	case id != "" && id != strconv.Itoa(x.id):
		c.w.t.Errorf("%v: the response of %s", x, id)
	case status == 200 && id == "":
		c.w.t.Errorf("%v: a 200 of nobody", x)
	case id != "" && !isPartOf(x.id, got):
		c.w.t.Errorf("%v: got %d, %d bytes that are not its own", x, status, len(got))
	case id != "" && isWhole && x.method != "HEAD" && len(got) != x.want && (x.script != simUntilEnd || c.mustSucceed(x)):
		c.w.t.Errorf("%v: got %d, %d bytes taken for whole; want %d", x, status, len(got), x.want)
	case id == "" && isWhole && status < 400:
		c.w.t.Errorf("%v: got %d", x, status)
	case status == 400 || status == 408 && !c.isWild() || status == 500 || status == 501 || status == 505:
		c.w.t.Errorf("%v: got %d", x, status)
	}
	if c.mustSucceed(x) && (status != 200 || !isWhole) {
		c.w.t.Errorf("%v: got %d, %d bytes, %v; want it answered", x, status, len(got), err)
	}
}

// call makes an exchange by the Go API.
func (c *simClient) call(x simExchange) {
	f := c.w.currentFront()
	if f == nil {
		return
	}
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://x" + x.path())
	req.Header.SetMethod(x.method)
	if x.sent > 0 {
		req.SetBody(bodyOf(x.id, x.sent))
	}
	timeout := simPatience
	if c.isWild() && c.random.IntN(4) == 0 {
		timeout = time.Duration(1 + c.random.IntN(int(500*time.Millisecond)))
	}
	began := time.Now()
	err := f.DoTimeout(&req, &resp, timeout)
	if time.Since(began) >= simPatience {
		c.w.t.Errorf("%v: it did not end", x)
	}
	if err != nil {
		c.judge(x, 0, nil, nil, errors.New(err.Error()), true) // a dial's deadline is not the client's
		return
	}
	h := make(http.Header)
	h.Set("X-Id", string(resp.Header.Peek("X-Id")))
	c.judge(x, resp.StatusCode(), h, bytes.Clone(resp.Body()), nil, false)
}

// isBroken reports whether bytes of the connection were lost unseen.
func (c *simConn) isBroken() bool {
	c.pair.mu.Lock()
	defer c.pair.mu.Unlock()
	return c.in.isLost || c.peer.in.isLost || c.pair.isFrozen
}
