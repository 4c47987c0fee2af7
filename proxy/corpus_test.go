package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The corpus writes messages as text: \n stands for CR LF, ␊ for a line feed
// alone, and ⏸ for a pause until the other side has what came before.
var corpusText = strings.NewReplacer("\n", "\r\n", "␊", "\n")

const pause = "⏸"

// hostile is one request, or several, and the verdict.
type hostile struct {
	name string
	send string
	// want is the statuses the client sees. The connection goes on behind 2xx and
	// ends behind others, save where "end" or "on" says so. "cut" is for a request
	// that the client leaves unfinished: it is not answered. Those of which part may
	// reach the upstream, never all, have targets that begin with /cut-.
	want string
	// reach is what reaches the upstream, without X-Forwarded-For and Via; nil is
	// what was sent if the verdict is 200, nothing if it is another.
	reach []string
}

// heard is a request as an upstream got it: every byte. It is not whole when the
// connection ended before the request did.
type heard struct {
	raw     string
	isWhole bool
}

// listener is an upstream that records requests as they come and answers each
// whole one with 200.
type listener struct {
	addr  string
	headc chan string // heads
	mu    sync.Mutex  // guards all below
	all   []heard
}

func (l *listener) start(t testing.TB) {
	l.addr = startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for {
			h := l.hear(r)
			if h.raw != "" {
				l.mu.Lock()
				l.all = append(l.all, h)
				l.mu.Unlock()
			}
			if !h.isWhole {
				return
			}
			answer := okResponse
			if strings.HasPrefix(h.raw, "HEAD ") {
				answer = strings.TrimSuffix(answer, "ok")
			}
			io.WriteString(nc, answer)
		}
	})
}

// hear reads one request, framed as it says.
func (l *listener) hear(r *bufio.Reader) (h heard) {
	var b strings.Builder
	defer func() { h.raw = b.String() }()
	tee := bufio.NewReaderSize(io.TeeReader(oneByte{r}, &b), 16)
	head := readHead(tee)
	if head == "" {
		return h
	}
	l.headc <- head
	fields, err := textproto.NewReader(bufio.NewReader(strings.NewReader(head[strings.Index(head, "\n")+1:]))).ReadMIMEHeader()
	switch length := fields.Get("Content-Length"); {
	case err != nil:
	case fields.Get("Transfer-Encoding") == "chunked":
		h.isWhole = skipChunks(tee) == nil
	case length != "":
		n, err := strconv.ParseInt(length, 10, 64)
		if err == nil {
			_, err = io.CopyN(io.Discard, tee, n)
		}
		h.isWhole = err == nil
	default:
		h.isWhole = true
	}
	return h
}

// oneByte keeps a reader on top of it from reading ahead.
type oneByte struct{ io.Reader }

func (o oneByte) Read(p []byte) (int, error) { return o.Reader.Read(p[:min(len(p), 1)]) }

// skipChunks reads a chunked body and its trailers.
func skipChunks(r *bufio.Reader) error {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return err
		}
		n, err := strconv.ParseInt(strings.TrimSuffix(line, "\r\n"), 16, 64)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		if _, err := io.CopyN(io.Discard, r, n+2); err != nil {
			return err
		}
	}
	for {
		line, err := r.ReadString('\n')
		if err != nil || line == "\r\n" {
			return err
		}
	}
}

// take returns the whole requests so far and forgets them.
func (l *listener) take() (got []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := l.all[:0]
	for _, h := range l.all {
		if h.isWhole {
			got = append(got, withoutOwn(h.raw))
		} else {
			rest = append(rest, h)
		}
	}
	l.all = rest
	return got
}

func TestRequestCorpus(t *testing.T) {
	up := &listener{headc: make(chan string, 1000)}
	t.Cleanup(func() { // when all else has ended
		if got := up.take(); len(got) > 0 {
			t.Errorf("the upstream got %.300q later", got)
		}
		for _, h := range up.all { // bodies that came in pieces and were bad in the end
			if !strings.HasPrefix(h.raw, "POST /cut-") {
				t.Errorf("the upstream got part of a request: %.300q", h.raw)
			}
		}
	})
	up.start(t)
	p := startPair(t, up.addr, Config{}, Config{})
	for i, tc := range hostiles {
		if slices.ContainsFunc(hostiles[:i], func(h hostile) bool { return h.name == tc.name }) {
			t.Errorf("%s: twice in the corpus", tc.name)
		}
		good := fmt.Sprintf("GET /good/%d HTTP/1.1\r\nHost: x\r\n\r\n", i)
		statuses, isOn := tc.run(t, p.addr, up, good)
		if got, want := statuses, strings.TrimSuffix(strings.TrimSuffix(tc.want, " on"), " end"); got != want {
			t.Errorf("%s: got %q; want %q", tc.name, got, want)
		}
		if isOn != tc.isOn() {
			t.Errorf("%s: the connection goes on: %v; want %v", tc.name, isOn, tc.isOn())
		}
		c := dialClient(t, p.addr)
		c.send(good)
		c.read("GET").want(t, 200, "a good request after "+tc.name)
		c.nc.Close()
		want := tc.reach
		if want == nil && strings.HasPrefix(tc.want, "200") {
			want = []string{strings.ReplaceAll(tc.send, pause, "")}
		}
		want = slices.Clone(want)
		for j := range want {
			want[j] = corpusText.Replace(strings.ReplaceAll(want[j], "UPSTREAM", up.addr))
		}
		if tc.isOn() {
			want = append(want, good)
		}
		want = append(want, good)
		if got := up.take(); !slices.Equal(got, want) {
			t.Errorf("%s: the upstream got %.300q; want %.300q", tc.name, got, want)
		}
	}
	if len(hostiles) < 150 {
		t.Errorf("%d requests; want 150 or more", len(hostiles))
	}
}

// isOn reports whether the connection is to go on.
func (h *hostile) isOn() bool {
	switch {
	case strings.HasSuffix(h.want, " on"):
		return true
	case strings.HasSuffix(h.want, " end"):
		return false
	}
	words := strings.Fields(h.want)
	return strings.HasPrefix(words[len(words)-1], "2")
}

// run sends the request, reads the answers, and tries whether the connection goes
// on by the next request, which it should only get to when it is to.
func (h *hostile) run(t *testing.T, addr string, up *listener, next string) (statuses string, isOn bool) {
	t.Helper()
	c := dialClient(t, addr)
	defer c.nc.Close()
	for len(up.headc) > 0 {
		<-up.headc
	}
	for i, part := range strings.Split(h.send, pause) {
		if i > 0 {
			await(t, up.headc, h.name+": the head at the upstream")
		}
		c.send(corpusText.Replace(part))
	}
	if h.want == "cut" {
		c.nc.(*net.TCPConn).CloseWrite()
	} else if h.isOn() {
		c.send(next)
	}
	method, _, _ := strings.Cut(h.send, " ")
	var got []string
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: method})
		if err != nil {
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				t.Errorf("%s: no answer and no end", h.name)
			}
			break
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Errorf("%s: %d with %q, %v", h.name, resp.StatusCode, body, err)
		}
		if isRefused := resp.StatusCode >= 400; !isRefused && method != "HEAD" && string(body) != "ok" {
			t.Errorf("%s: %d with %q", h.name, resp.StatusCode, body)
		} else if isRefused && !resp.Close && !h.isOn() {
			t.Errorf("%s: %d without Connection: close", h.name, resp.StatusCode)
		}
		got = append(got, strconv.Itoa(resp.StatusCode))
		method = "" // of those behind the first, only GET and POST
		if words := strings.Fields(strings.TrimSuffix(h.want, " on")); h.isOn() && len(got) == len(words)+1 {
			isOn = true
			got = got[:len(words)]
			break
		}
	}
	if len(got) == 0 {
		return "cut", false
	}
	return strings.Join(got, " "), isOn
}

// told is what an upstream says to a request, and what its client gets.
type told struct {
	name   string
	method string // GET if empty
	// say ends with the connection, save with ⏸ at its end. What stands behind a ⏸
	// answers the next request on the connection, which should not get there.
	say string
	// want is what the client sees, one word for each head: a status, its
	// Content-Length for HEAD and 304, and the body. "bad" is 502 or a body cut
	// short, which depends on how much came before.
	want string
}

func TestResponseCorpus(t *testing.T) {
	var mu sync.Mutex
	asked := map[string]int{}
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			target := strings.Fields(head)[1]
			mu.Lock()
			asked[target]++
			mu.Unlock()
			i, err := strconv.Atoi(strings.TrimPrefix(target, "/"))
			if err != nil {
				fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(target), target)
				continue
			}
			parts := strings.Split(tolds[i].say, pause)
			for j, part := range parts {
				if j > 0 && part != "" && readHead(r) == "" {
					return
				}
				io.WriteString(nc, corpusText.Replace(part))
			}
			if parts[len(parts)-1] != "" {
				return
			}
		}
	})
	p := startPair(t, up, Config{}, Config{})
	for i, tc := range tolds {
		c := dialClient(t, p.addr)
		if tc.method == "" {
			tc.method = "GET"
		}
		c.send(fmt.Sprintf("%s /%d HTTP/1.1\r\nHost: x\r\n\r\n", tc.method, i))
		got := tc.read(c)
		switch tc.want {
		case "bad":
			if got != "502 Bad Gateway" && !strings.HasSuffix(got, "cut short") {
				t.Errorf("%s: got %q; want 502 or a body cut short", tc.name, got)
			}
		default:
			if got != tc.want {
				t.Errorf("%s: got %q; want %q", tc.name, got, tc.want)
			}
		}
		if !strings.HasSuffix(got, "cut short") { // nothing comes behind it
			if a := c.get("/next"); a.body != "/next" {
				t.Errorf("%s: then %d %q; want /next", tc.name, a.status, a.body)
			}
		}
		c.nc.Close()
		for range 2 { // one may have been left on another connection
			if a := dialClient(t, p.addr).get("/good"); a.body != "/good" {
				t.Errorf("%s: a good request got %d %q", tc.name, a.status, a.body)
			}
		}
		mu.Lock()
		if n := asked[fmt.Sprintf("/%d", i)]; n != 1 {
			t.Errorf("%s: asked %d times; want once", tc.name, n)
		}
		mu.Unlock()
	}
}

// read reads one response, with the interim ones before it.
func (tc *told) read(c *lineClient) string {
	var words []string
	c.nc.SetReadDeadline(time.Now().Add(patience))
	for {
		resp, err := http.ReadResponse(c.r, &http.Request{Method: tc.method})
		if err != nil {
			return strings.Join(append(words, "cut short"), " ")
		}
		words = append(words, strconv.Itoa(resp.StatusCode))
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if length := resp.Header.Get("Content-Length"); tc.method == "HEAD" || resp.StatusCode == 304 || resp.StatusCode == 204 {
			if length != "" {
				words = append(words, "length", length)
			}
		}
		if err != nil {
			return strings.Join(append(words, "cut short"), " ")
		}
		if len(body) > 0 {
			words = append(words, strings.TrimSuffix(string(body), "\n"))
		}
		return strings.Join(words, " ")
	}
}

func TestEveryStatusCrosses(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for head := readHead(r); head != ""; head = readHead(r) {
			status := strings.TrimPrefix(strings.Fields(head)[1], "/")
			if status == "204" || status == "304" {
				fmt.Fprintf(nc, "HTTP/1.1 %s Own Words\r\n\r\n", status)
			} else {
				fmt.Fprintf(nc, "HTTP/1.1 %s Own Words\r\nContent-Length: 3\r\n\r\n%s", status, status)
			}
		}
	})
	p := startPair(t, up, Config{}, Config{})
	c := dialClient(t, p.addr)
	for status := 200; status < 600; status++ {
		want := strconv.Itoa(status)
		a := c.get("/" + want)
		if status == 204 || status == 304 {
			want = ""
		}
		if a.status != status || a.body != want {
			t.Errorf("got %d %q; want %d", a.status, a.body, status)
		}
	}
}
