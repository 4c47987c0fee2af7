package proxy

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// eachPair runs a test over the ways a hop can be: both ends in one process with
// and without a codec, a relay between them, and no hop at all.
func eachPair(t *testing.T, up string, f func(t *testing.T, addr string)) {
	for _, codec := range []Codec{Zstd, None} {
		t.Run("codec="+codec.String(), func(t *testing.T) {
			f(t, startPair(t, up, Config{Hop: Hop{Compress: codec}}, Config{Hop: Hop{Compress: codec}}).addr)
		})
	}
	t.Run("relay", func(t *testing.T) {
		ln := listenTCP(t)
		startBack(t, ln, Config{To: []string{"http://" + up}})
		relay := listenTCP(t)
		startBack(t, relay, Config{To: []string{"h2tpc://" + ln.Addr().String()}})
		_, addr := startFront(t, Config{To: []string{"h2tpc://" + relay.Addr().String()}})
		f(t, addr)
	})
	t.Run("edge", func(t *testing.T) {
		_, addr := startFront(t, Config{To: []string{"http://" + up}})
		f(t, addr)
	})
}

func TestLargeBodiesCrossBothWays(t *testing.T) {
	up := startUpstream(t, echoHandler)
	eachPair(t, up, func(t *testing.T, addr string) {
		for _, size := range []int{60 << 10, 70 << 10, 1 << 20, 8 << 20} {
			for _, isChunked := range []bool{false, true} {
				want := make([]byte, size)
				rand.Read(want[:size/2]) // half of it compresses
				var body io.Reader = bytes.NewReader(want)
				if isChunked {
					body = io.MultiReader(body)
				}
				resp, err := http.Post("http://"+addr+"/", "application/octet-stream", body)
				if err != nil {
					t.Fatal(err)
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, want) || resp.StatusCode != 200 {
					t.Errorf("%d bytes, chunked %v: got %d, %d bytes, %v", size, isChunked, resp.StatusCode, len(got), err)
				}
			}
		}
	})
}

func TestEventsArriveOneByOne(t *testing.T) {
	step := make(chan struct{})
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 5 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			w.(http.Flusher).Flush()
			<-step
		}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		resp, err := http.Get("http://" + addr + "/")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		for i := range 5 { // each before the next is written
			line, err := r.ReadString('\n')
			if err != nil || line != fmt.Sprintf("data: %d\n", i) {
				t.Fatalf("got %q, %v", line, err)
			}
			r.ReadString('\n')
			step <- struct{}{}
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("got %v; want EOF", err)
		}
	})
}

func TestFullDuplex(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		s := bufio.NewScanner(r.Body)
		for s.Scan() {
			fmt.Fprintf(w, "echo %s\n", s.Text())
			w.(http.Flusher).Flush()
		}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("POST", "http://"+addr+"/", pr)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		r := bufio.NewReader(resp.Body)
		for i := range 10 {
			fmt.Fprintf(pw, "line %d\n", i)
			if line, err := r.ReadString('\n'); line != fmt.Sprintf("echo line %d\n", i) {
				t.Fatalf("got %q, %v", line, err)
			}
		}
		pw.Close()
		if _, err := r.ReadByte(); err != io.EOF {
			t.Errorf("got %v; want EOF", err)
		}
	})
}

// An Upgrade becomes a tunnel for bytes, each direction of which ends by itself.
func TestUpgradeIsATunnel(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if _, rest, ok := strings.Cut(head, "Content-Length: "); ok {
			n := int64(0)
			fmt.Sscan(rest, &n)
			body := make([]byte, n)
			if _, err := io.ReadFull(r, body); string(body) != `{"a":1}` {
				t.Errorf("got the body %q, %v", body, err)
			}
		}
		if !strings.Contains(head, "Upgrade: telegraph") || !strings.Contains(head, "Connection: Upgrade") {
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: telegraph\r\nConnection: Upgrade\r\n\r\nhello")
		got, _ := io.ReadAll(r) // until the client ends its side
		nc.Write(bytes.ToUpper(got))
	})
	const ask = " /wire HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: telegraph\r\n"
	eachPair(t, up, func(t *testing.T, addr string) {
		for _, request := range []string{
			"GET" + ask + "\r\n",
			"HEAD" + ask + "\r\n",
			"POST" + ask + "Content-Length: 7\r\n\r\n{\"a\":1}", // the body goes first, as RFC 9110 7.8 has it
			"POST" + ask + "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"a\":1}\r\n0\r\n\r\n",
		} {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			io.WriteString(nc, request)
			r := bufio.NewReader(nc)
			head := readHead(r)
			if !strings.HasPrefix(head, "HTTP/1.1 101 ") || !strings.Contains(head, "Upgrade: telegraph") || !strings.Contains(head, "Connection: Upgrade") {
				t.Fatalf("%q: got %q", request, head)
			}
			hello := make([]byte, 5)
			if _, err := io.ReadFull(r, hello); string(hello) != "hello" {
				t.Fatalf("%q: got %q, %v", request, hello, err)
			}
			want := bytes.Repeat([]byte("stop and go. "), 50_000)
			nc.Write(want)
			nc.(*net.TCPConn).CloseWrite()
			nc.SetReadDeadline(time.Now().Add(patience))
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, bytes.ToUpper(want)) {
				t.Errorf("%q: got %d bytes, %v; want %d", request, len(got), err, len(want))
			}
		}
	})
}

func TestExpectIsTheUpstreamsToMeet(t *testing.T) {
	asked := make(chan struct{}, 10)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if strings.HasPrefix(head, "POST /no") {
			io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
			return
		}
		if strings.Count(head, "Expect:") != 1 {
			io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
			return
		}
		asked <- struct{}{}
		io.WriteString(nc, "HTTP/1.1 100 Continue\r\n\r\n")
		body := make([]byte, 5)
		io.ReadFull(r, body)
		fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n%s", body)
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		c := dialClient(t, addr)
		c.send("POST /yes HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		c.read("POST").want(t, 100, "an awaited body")
		await(t, asked, "the upstream's word")
		c.send("hello")
		if a := c.read("POST"); a.body != "hello" {
			t.Errorf("got %q", a.body)
		}
		c = dialClient(t, addr)
		c.send("POST /no HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		c.read("POST").want(t, 403, "a body that is not wanted")
		c.wantEnd("a refused Expect")
	})
}

// Readers that stop delay nobody, and cost no more than their windows.
func TestStoppedReadersDelayNobody(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			io.WriteString(w, "small")
			return
		}
		w.Header().Set("Content-Length", fmt.Sprint(64<<20))
		piece := make([]byte, 1<<20)
		for range 64 {
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	})
	p := startPair(t, up, Config{}, Config{})
	for range 8 {
		nc, err := net.Dial("tcp", p.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
		if _, err := io.ReadFull(nc, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
	}
	c := dialClient(t, p.addr)
	for range 200 {
		if a := c.get("/small"); a.body != "small" {
			t.Fatalf("got %v", a)
		}
	}
}

// A body cut short at one end is cut short at the other.
func TestStreamedBodyCutShortIsNeverWhole(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		head := readHead(r)
		if strings.HasPrefix(head, "GET /length") {
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n%s", long)
		} else {
			fmt.Fprintf(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n", len(long), long)
		}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		for _, path := range []string{"/length", "/chunked"} {
			resp, err := http.Get("http://" + addr + path)
			if err != nil {
				t.Fatal(err)
			}
			n, err := io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if err == nil && resp.StatusCode != 502 { // when it was known before the response began
				t.Errorf("%s: %d bytes taken for whole", path, n)
			}
		}
	})
}

func TestClientThatLeavesAStreamEndsItsUpstreamRequest(t *testing.T) {
	gone := make(chan struct{}, 10)
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/begun" {
			w.Write(make([]byte, 200<<10))
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
		gone <- struct{}{}
	})
	eachPair(t, up, func(t *testing.T, addr string) {
		for _, path := range []string{"/begun", "/silent"} {
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			body := strings.Repeat("b", 100<<10)
			fmt.Fprintf(nc, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
			if path == "/begun" {
				io.ReadFull(nc, make([]byte, 1000))
			}
			nc.Close()
			if path == "/silent" {
				await(t, gone, "the upstream's end")
			}
		}
	})
}

func TestManyTransfersAtOnce(t *testing.T) {
	up := startUpstream(t, echoHandler)
	p := startPair(t, up, Config{}, Config{})
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			for j := range 4 {
				want := bytes.Repeat([]byte{byte(i), byte(j)}, 300_000)
				resp, err := http.Post("http://"+p.addr+"/", "text/plain", bytes.NewReader(want))
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("got %d bytes, %v", len(got), err)
				}
			}
		})
	}
	wg.Wait()
	p.front.Close()
	if n := p.front.Stats().InFlight; n != 0 {
		t.Errorf("%d exchanges left", n)
	}
}
