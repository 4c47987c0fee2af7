package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// pipeRig is a front that pipelines, before an upstream whose every answer the test writes.
type pipeRig struct {
	t     *testing.T
	f     *Front
	addr  string
	conns atomic.Int64
	seenc chan pipeAsked
}

// pipeAsked is a request that the upstream has read.
type pipeAsked struct {
	nc     net.Conn
	conn   int64 // which one it came by, from 1
	target string
}

func newPipeRig(t *testing.T, limits Limits) *pipeRig {
	t.Helper()
	r := &pipeRig{t: t, seenc: make(chan pipeAsked, 100)}
	up := startScript(t, func(nc net.Conn, in *bufio.Reader) {
		conn := r.conns.Add(1)
		for head := readHead(in); head != ""; head = readHead(in) {
			var n int64
			if _, rest, ok := strings.Cut(head, "Content-Length: "); ok {
				fmt.Sscan(rest, &n)
			}
			io.CopyN(io.Discard, in, n)
			r.seenc <- pipeAsked{nc, conn, strings.Fields(head)[1]}
		}
	})
	if limits.Pipeline == 0 {
		limits.Pipeline, limits.PipelineConns = 8, 1
	}
	r.f, r.addr = startFront(t, Config{To: []string{"http://" + up}, Limits: limits})
	return r
}

// ask sends a request of its own client; it is read before another can come.
func (r *pipeRig) ask(method, target string) (*lineClient, pipeAsked) {
	r.t.Helper()
	c := dialClient(r.t, r.addr)
	body := ""
	if method == "POST" {
		body = "Content-Length: 0\r\n"
	}
	c.send(method + " " + target + " HTTP/1.1\r\nHost: x\r\n" + body + "\r\n")
	a := await(r.t, r.seenc, "request")
	if a.target != target {
		r.t.Fatalf("the upstream got %s; want %s", a.target, target)
	}
	return c, a
}

func (a pipeAsked) answer(more string) {
	io.WriteString(a.nc, fmt.Sprintf("HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\n\r\n%s", more, len(a.target), a.target))
}

// prove makes a connection that others may join.
func (r *pipeRig) prove() {
	r.t.Helper()
	c, a := r.ask("GET", "/proof")
	a.answer("")
	c.read("GET").want(r.t, 200, "the first")
	awaitTrue(r.t, func() bool { return r.f.Stats().Destinations[0].InFlight == 0 }, "the end of the first")
	u := r.f.route.dests()[0].(*upstream)
	awaitTrue(r.t, func() bool {
		u.mu.Lock()
		defer u.mu.Unlock()
		return len(u.pipes) > 0 && u.pipes[0].pipe.isProven && u.piped == 0
	}, "proof")
}

// wantOwn reads a response, which is that of target.
func (c *lineClient) wantOwn(target string) {
	c.t.Helper()
	if a := c.read("GET"); a.status != 200 || a.body != target {
		c.t.Errorf("%s: got %d %q", target, a.status, a.body)
	}
}

func TestPipelinedRequestsShareAConnectionAndKeepTheirOwnResponses(t *testing.T) {
	r := newPipeRig(t, Limits{})
	first, a := r.ask("GET", "/0") // nothing is known of its connection yet: the next has another
	other, b := r.ask("GET", "/other")
	if a.conn == b.conn {
		t.Error("a second request on a connection that has not answered one")
	}
	a.answer("")
	b.answer("")
	first.wantOwn("/0")
	other.wantOwn("/other")
	r.prove()
	clients := make([]*lineClient, 8)
	all := make([]pipeAsked, 8)
	for i := range clients {
		clients[i], all[i] = r.ask("GET", fmt.Sprintf("/%d", i))
		if all[i].conn != a.conn {
			t.Errorf("request %d came by connection %d; want %d", i, all[i].conn, a.conn)
		}
	}
	full, f := r.ask("GET", "/full") // the ninth
	post, p := r.ask("POST", "/post")
	if f.conn == a.conn || p.conn == a.conn {
		t.Errorf("connections %d and %d; want others than %d, which is full, and for requests that may be repeated", f.conn, p.conn, a.conn)
	}
	p.answer("")
	post.read("POST").want(t, 200, "a POST beside them")
	f.answer("")
	full.wantOwn("/full")
	io.WriteString(a.nc, "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n")
	if got := clients[0].read("GET").status; got != 103 {
		t.Errorf("got %d; want the interim response", got)
	}
	var together strings.Builder // several in one read, one in two
	for i := range all {
		fmt.Fprintf(&together, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/%d", i)
	}
	s := together.String()
	io.WriteString(a.nc, s[:len(s)/2+3])
	clients[0].wantOwn("/0")
	io.WriteString(a.nc, s[len(s)/2+3:])
	for i, c := range clients[1:] {
		c.wantOwn(fmt.Sprintf("/%d", i+1))
	}
	again, g := r.ask("GET", "/again")
	g.answer("")
	again.wantOwn("/again")
	if g.conn != a.conn || r.conns.Load() > 3 {
		t.Errorf("%d connections, the last by %d; want 3, and %d", r.conns.Load(), g.conn, a.conn)
	}
}

// A HEAD's response has no body, whatever the length says; nor have 204 and 304.
func TestPipelinedResponsesWithoutBodiesEndWhereTheyDo(t *testing.T) {
	r := newPipeRig(t, Limits{})
	r.prove()
	c0, a := r.ask("GET", "/0")
	c1, _ := r.ask("HEAD", "/1")
	c2, _ := r.ask("GET", "/2")
	c3, _ := r.ask("GET", "/3")
	c4, last := r.ask("GET", "/4")
	io.WriteString(a.nc, "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"+
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n/3\r\n0\r\n\r\n")
	last.answer("")
	c0.read("GET").want(t, 204, "/0")
	c1.read("HEAD").want(t, 200, "/1")
	c2.read("GET").want(t, 304, "/2")
	c3.wantOwn("/3")
	c4.wantOwn("/4")
}

// What waits behind a response that ends its connection, or is streamed, or behind a request that is lost, goes elsewhere.
func TestPipelinedRequestsMoveWhenTheirConnectionIsOfNoUse(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first func(a pipeAsked)                 // what the upstream does for the first
		want  func(t *testing.T, c *lineClient) // what its client sees
	}{
		{"close", func(a pipeAsked) { a.answer("Connection: close\r\n") }, func(t *testing.T, c *lineClient) { c.wantOwn("/0") }},
		{"until the end", func(a pipeAsked) { io.WriteString(a.nc, "HTTP/1.1 200 OK\r\n\r\n/0"); a.nc.Close() }, func(t *testing.T, c *lineClient) { c.wantOwn("/0") }},
		{"streamed", func(a pipeAsked) {
			io.WriteString(a.nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n/0\r\n")
		}, nil},
		{"large", func(a pipeAsked) { io.WriteString(a.nc, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx") }, nil},
		{"nonsense", func(a pipeAsked) { io.WriteString(a.nc, "HTTP/1.1 2\x00\r\n\r\n") }, func(t *testing.T, c *lineClient) { c.read("GET").want(t, 502, "/0") }},
		{"lost", func(a pipeAsked) { a.nc.Close() }, func(t *testing.T, c *lineClient) { c.wantOwn("/0") }}, // repeated
		{"cut", func(a pipeAsked) {
			io.WriteString(a.nc, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx")
			a.nc.Close()
		}, func(t *testing.T, c *lineClient) { c.read("GET").want(t, 502, "/0") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newPipeRig(t, Limits{})
			r.prove()
			first, a := r.ask("GET", "/0")
			var clients []*lineClient
			for i := range 4 {
				c, _ := r.ask("GET", fmt.Sprintf("/%d", i+1))
				clients = append(clients, c)
			}
			tt.first(a)
			n := len(clients)
			if tt.name == "lost" {
				n++
			}
			for range n {
				again := await(t, r.seenc, "request elsewhere")
				if again.conn == a.conn {
					t.Errorf("%s came by the same connection again", again.target)
				}
				again.answer("")
			}
			for i, c := range clients {
				c.wantOwn(fmt.Sprintf("/%d", i+1))
			}
			if tt.want != nil {
				tt.want(t, first)
			}
			failures := int64(0)
			for _, c := range r.f.Stats().Destinations[0].Failures {
				failures += c.N
			}
			if failures > 1 {
				t.Errorf("%d failures; what only waited is none of the upstream's", failures)
			}
		})
	}
}

// A client that leaves takes nobody with it, unless nobody else waits.
func TestPipelinedRequestOfAClientThatLeft(t *testing.T) {
	for _, leaves := range []int{0, 1, 2} {
		r := newPipeRig(t, Limits{})
		r.prove()
		var clients []*lineClient
		var all []pipeAsked
		for i := range 3 {
			c, a := r.ask("GET", fmt.Sprintf("/%d", i))
			clients, all = append(clients, c), append(all, a)
		}
		clients[leaves].nc.Close()
		awaitTrue(t, func() bool { return r.f.Stats().InFlight == 2 }, "the end of who left")
		for i, a := range all {
			a.answer("")
			if i != leaves {
				clients[i].wantOwn(a.target)
			}
		}
		last, a := r.ask("GET", "/last")
		if a.conn != all[0].conn {
			t.Errorf("%d left: the connection was given up", leaves)
		}
		last.nc.Close()
		if _, err := a.nc.Read(make([]byte, 1)); err == nil {
			t.Error("the upstream works on for nobody")
		}
	}
}

func TestPipelinedRequestsHaveTheirOwnTime(t *testing.T) {
	r := newPipeRig(t, Limits{Timeout: 700 * time.Millisecond})
	r.prove()
	slow, _ := r.ask("GET", "/slow") // never answered: it runs out of time first
	time.Sleep(400 * time.Millisecond)
	behind, _ := r.ask("GET", "/behind")
	slow.read("GET").want(t, 504, "the first")
	again := await(t, r.seenc, "request elsewhere")
	again.answer("")
	behind.wantOwn("/behind")

	r = newPipeRig(t, Limits{Timeout: time.Minute, FirstByteTimeout: 500 * time.Millisecond})
	r.prove()
	slow, _ = r.ask("GET", "/slow")
	behind, _ = r.ask("GET", "/behind")
	slow.nc.Close() // nobody waits for what does not come
	awaitTrue(t, func() bool { return r.f.Stats().InFlight == 1 }, "the end of who left")
	again = await(t, r.seenc, "request elsewhere")
	again.answer("")
	behind.wantOwn("/behind")
}

// An upstream that closes after each response is pipeAsked as without pipelining.
func TestUpstreamThatClosesIsNotPipelinedTo(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		if readHead(r) != "" {
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	f, addr := startFront(t, Config{To: []string{"http://" + up}, Limits: Limits{Pipeline: 16, PipelineConns: 2}})
	done := make(chan int, 20)
	for range 20 {
		c := dialClient(t, addr)
		go func() {
			bad := 0
			for range 50 {
				if c.get("/").status != 200 {
					bad++
				}
			}
			done <- bad
		}()
	}
	for range 20 {
		if bad := await(t, done, "client"); bad > 0 {
			t.Errorf("%d failed", bad)
		}
	}
	if n := f.route.meter.repeats.Load(); n > 0 {
		t.Errorf("%d repeats; want none", n)
	}
}

// An upstream says something unasked behind a response: nobody gets it.
func TestUnaskedResponseOnAPipelinedConnectionIsNobodys(t *testing.T) {
	r := newPipeRig(t, Limits{})
	r.prove()
	c, a := r.ask("GET", "/0")
	io.WriteString(a.nc, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n/0HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	c.wantOwn("/0")
	for i := range 5 {
		target := fmt.Sprintf("/next%d", i)
		c.send("GET " + target + " HTTP/1.1\r\nHost: x\r\n\r\n")
		b := await(t, r.seenc, "request")
		if b.conn == a.conn {
			t.Error("the connection is used on")
		}
		b.answer("")
		c.wantOwn(target)
	}
}

// Leaving waits for what is on pipelined connections, and for no idle one.
func TestPipelinedConnectionsDrain(t *testing.T) {
	r := newPipeRig(t, Limits{Pipeline: 4, PipelineConns: 2})
	r.prove()
	c0, a := r.ask("GET", "/0")
	c1, b := r.ask("GET", "/1")
	c2, d := r.ask("GET", "/2")
	donec := make(chan error, 1)
	go func() { donec <- r.f.Shutdown(t.Context()) }()
	time.Sleep(50 * time.Millisecond)
	for _, x := range []pipeAsked{a, b, d} {
		x.answer("")
	}
	for i, c := range []*lineClient{c0, c1, c2} {
		c.wantOwn(fmt.Sprintf("/%d", i))
	}
	if err := await(t, donec, "shutdown"); err != nil {
		t.Error(err)
	}
}

// Pipelined exchanges count as others where a destination's are bounded, and wait in turn.
func TestPipelinedExchangesAreBounded(t *testing.T) {
	r := newPipeRig(t, Limits{Pipeline: 8, PipelineConns: 1, MaxDestExchanges: 3})
	r.prove()
	var clients []*lineClient
	var all []pipeAsked
	for i := range 3 {
		c, a := r.ask("GET", fmt.Sprintf("/%d", i))
		clients, all = append(clients, c), append(all, a)
	}
	fourth := dialClient(t, r.addr)
	fourth.send("GET /fourth HTTP/1.1\r\nHost: x\r\n\r\n")
	awaitTrue(t, func() bool { return r.f.Stats().Destinations[0].Waiting == 1 }, "one that waits")
	all[0].answer("")
	clients[0].wantOwn("/0")
	if a := await(t, r.seenc, "the fourth"); a.target != "/fourth" || a.conn != all[0].conn {
		t.Errorf("got %+v", a)
	}
}

// An idle connection that pipelines makes room for who needs one for itself.
func TestIdlePipelinedConnectionMakesRoom(t *testing.T) {
	r := newPipeRig(t, Limits{Pipeline: 8, PipelineConns: 1, MaxUpstreamConns: 2, QueueTimeout: patience})
	r.prove()
	c0, a := r.ask("POST", "/0")
	c1, b := r.ask("POST", "/1") // in its place
	a.answer("")
	b.answer("")
	c0.wantOwn("/0")
	c1.wantOwn("/1")
	if a.conn == b.conn {
		t.Error("two POSTs on one connection at once")
	}
	r.prove()
}
