package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// exampleUpstream is a net/http server that has a path for each thing that HTTP/1.1 can do.
type exampleUpstream struct {
	paths  map[string]http.HandlerFunc // by the first segment; the others echo
	eventc chan time.Time              // when each event was written
	gonec  chan string                 // paths of requests that ended before their answer did
	bodyc  chan error                  // how the bodies of uploads ended
	readyc chan struct{}               // for /expect to read the body
}

func newExampleUpstream() *exampleUpstream {
	u := &exampleUpstream{eventc: make(chan time.Time, 1000), gonec: make(chan string, 10), bodyc: make(chan error, 10), readyc: make(chan struct{})}
	u.paths = map[string]http.HandlerFunc{
		"sum": u.sum, "content": u.content, "trailers": u.trailers, "expect": u.expect, "hints": u.hints, "status": u.status,
		"duplex": u.duplex, "events": u.events, "wait": u.wait, "short": u.short,
	}
	return u
}

func (u *exampleUpstream) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/") // a ServeMux would redirect some
	h := u.paths[parts[min(1, len(parts)-1)]]
	if h == nil {
		h = echo
	}
	h(w, r)
}

// numbers are the segments of a path behind the first.
func numbers(r *http.Request) (list [3]int) {
	for i, s := range strings.Split(r.URL.Path, "/")[2:] {
		list[i], _ = strconv.Atoi(s)
	}
	return list
}

// echo tells what came.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("X-Method", r.Method)
	w.Header().Set("X-Target", r.RequestURI)
	w.Header().Set("X-Host", r.Host)
	w.Header().Set("X-Framing", fmt.Sprint(r.ContentLength, r.TransferEncoding))
	if cookie := r.Header.Get("Cookie"); cookie != "" {
		w.Header().Set("Set-Cookie", cookie)
	}
	w.Write(body)
}

func (u *exampleUpstream) sum(w http.ResponseWriter, r *http.Request) {
	sum, err := checksum(r.Body)
	u.bodyc <- err
	w.Header().Set("X-Framing", fmt.Sprint(r.ContentLength, r.TransferEncoding))
	io.WriteString(w, sum)
}

// content sends so many bytes of a seed, chunked if the third number says so.
func (u *exampleUpstream) content(w http.ResponseWriter, r *http.Request) {
	n := numbers(r)
	if n[2] == 0 {
		w.Header().Set("Content-Length", strconv.Itoa(n[1]))
	} else {
		w.(http.Flusher).Flush()
	}
	if r.Method != "HEAD" {
		io.Copy(w, newContent(byte(n[0]), n[1]))
	}
}

func (u *exampleUpstream) trailers(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	w.Header().Set("Trailer", "X-Announced")
	fmt.Fprint(w, "body")
	w.Header().Set("X-Announced", r.Trailer.Get("X-Sum"))
	w.Header().Set(http.TrailerPrefix+"X-Unannounced", r.Trailer.Get("X-More"))
}

func (u *exampleUpstream) expect(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Expect") != "100-continue" {
		w.WriteHeader(400)
		return
	}
	if r.URL.RawQuery == "no" {
		w.WriteHeader(403) // net/http closes: it does not want the body
		return
	}
	<-u.readyc
	io.Copy(w, r.Body) // now it sends 100
}

func (u *exampleUpstream) hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(103)
	w.Header().Add("Link", "</more.css>; rel=preload")
	w.WriteHeader(103)
	w.Header().Del("Link")
	io.WriteString(w, "page")
}

func (u *exampleUpstream) status(w http.ResponseWriter, r *http.Request) {
	code := numbers(r)[0]
	w.Header().Set("X-Code", strconv.Itoa(code))
	w.WriteHeader(code)
	if code != 204 && code != 304 {
		fmt.Fprint(w, "status ", code)
	}
}

func (u *exampleUpstream) duplex(w http.ResponseWriter, r *http.Request) {
	http.NewResponseController(w).EnableFullDuplex()
	w.(http.Flusher).Flush()
	for s := bufio.NewScanner(r.Body); s.Scan(); w.(http.Flusher).Flush() {
		fmt.Fprintf(w, "echo %s\n", s.Text())
	}
}

func (u *exampleUpstream) events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for i := range 100 {
		u.eventc <- time.Now()
		fmt.Fprintf(w, "data: event %d\n\n", i)
		w.(http.Flusher).Flush()
		<-ticker.C
	}
}

// wait answers nothing, or half.
func (u *exampleUpstream) wait(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if r.URL.RawQuery == "half" {
		fmt.Fprint(w, "half")
		w.(http.Flusher).Flush()
	}
	u.gonec <- "came"
	<-r.Context().Done()
	u.gonec <- "left"
}

// short ends before its response is whole.
func (u *exampleUpstream) short(w http.ResponseWriter, r *http.Request) {
	n, _ := strconv.Atoi(r.URL.Query().Get("n"))
	if r.URL.Query().Get("framing") == "length" {
		w.Header().Set("Content-Length", strconv.Itoa(n+1))
	}
	io.Copy(w, newContent(1, n))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestEndToEndHTTP(t *testing.T) {
	u := newExampleUpstream()
	eachSpan(t, u, func(t *testing.T, addr string) {
		for _, tc := range []struct {
			name string
			f    func(*testing.T, *exampleUpstream, string)
		}{
			{"small exchanges", checkSmall},
			{"large uploads and downloads", checkLarge},
			{"trailers both ways", checkTrailers},
			{"a body is awaited", checkExpect},
			{"early hints", checkHints},
			{"responses without a body", checkBodyless},
			{"every status", checkStatuses},
			{"full duplex", checkDuplex},
			{"events", checkEvents},
			{"a client that leaves", checkLeaving},
			{"responses cut short", checkShortResponses},
			{"a request cut short", checkShortRequest},
			{"targets and methods", checkTargets},
		} {
			t.Run(tc.name, func(t *testing.T) { tc.f(t, u, "http://"+addr) })
		}
	})
}

func checkSmall(t *testing.T, _ *exampleUpstream, url string) {
	client := newClient(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 25 {
				method, body := "GET", ""
				if j%2 == 1 {
					method, body = "POST", strings.Repeat(fmt.Sprint(i, "-", j, " "), 10*j)
				}
				target := fmt.Sprintf("/small/%d?j=%d", i, j)
				req, _ := http.NewRequest(method, url+target, strings.NewReader(body))
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				got, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				h := resp.Header
				if err != nil || string(got) != body || h.Get("X-Method") != method || h.Get("X-Target") != target || "http://"+h.Get("X-Host") != url {
					t.Errorf("%s %s: got %v, %d bytes, %v; want %d bytes", method, target, h, len(got), err, len(body))
				}
			}
		})
	}
	wg.Wait()
}

func checkLarge(t *testing.T, u *exampleUpstream, url string) {
	client := newClient(t)
	var wg sync.WaitGroup
	for i, size := range []int{64 << 10, 64<<10 + 1, 1 << 20, 16 << 20} {
		for j, isChunked := range []bool{false, true} {
			seed := byte(2*i + j)
			isSmall := size < 1<<20 // one that is whole at once may be given a length
			want := contentSum(seed, size)
			wg.Go(func() {
				req, _ := http.NewRequest("POST", url+"/sum", newContent(seed, size))
				framing := "-1 [chunked]"
				if req.ContentLength = -1; !isChunked {
					req.ContentLength, framing = int64(size), fmt.Sprintf("%d []", size)
				}
				resp, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if got, err := io.ReadAll(resp.Body); err != nil || string(got) != want || resp.Header.Get("X-Framing") != framing && !isSmall {
					t.Errorf("upload of %d, chunked %v: got %s, %v, framed %s", size, isChunked, got, err, resp.Header.Get("X-Framing"))
				}
				<-u.bodyc
			})
			wg.Go(func() {
				resp, err := client.Get(fmt.Sprintf("%s/content/%d/%d/%d", url, seed, size, j))
				if err != nil {
					t.Error(err)
					return
				}
				defer resp.Body.Close()
				if got, err := checksum(resp.Body); err != nil || got != want || !isSmall && (resp.ContentLength < 0) != isChunked {
					t.Errorf("download of %d, chunked %v: got %s, %v, length %d", size, isChunked, got, err, resp.ContentLength)
				}
			})
		}
	}
	wg.Wait()
}

func checkTrailers(t *testing.T, _ *exampleUpstream, url string) {
	for _, size := range []int{10, 1 << 20} {
		req := newRequest(t, "POST", url+"/trailers", nil)
		req.Trailer = http.Header{"X-Sum": nil, "X-More": {"more"}}
		req.Body = io.NopCloser(io.MultiReader(newContent(1, size), readerFunc(func([]byte) (int, error) {
			req.Trailer.Set("X-Sum", "only now")
			return 0, io.EOF
		})))
		resp, body := do(t, newClient(t), req)
		want := http.Header{"X-Announced": {"only now"}, "X-Unannounced": {"more"}}
		if body != "body" || !maps.EqualFunc(resp.Trailer, want, slices.Equal) {
			t.Errorf("after %d bytes: got %q and %v; want %v", size, body, resp.Trailer, want)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func checkExpect(t *testing.T, u *exampleUpstream, url string) {
	send := func(query string, size int) (*http.Response, string, []string) {
		var mu sync.Mutex
		var events []string // a response may come before the client has noted that it waits
		note := func(what string) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, what)
		}
		var once sync.Once
		req := newRequest(t, "POST", url+"/expect"+query, io.MultiReader(readerFunc(func([]byte) (int, error) {
			once.Do(func() { note("body read") })
			return 0, io.EOF
		}), newContent(1, size)))
		req.ContentLength = int64(size)
		req.Header.Set("Expect", "100-continue")
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			Wait100Continue: func() {
				note("waits")
				if query == "" {
					u.readyc <- struct{}{}
				}
			},
			Got100Continue: func() { note("continue") },
		}))
		resp, body := do(t, newClient(t), req)
		mu.Lock()
		defer mu.Unlock()
		return resp, body, slices.Clone(events)
	}
	for _, size := range []int{10, 1 << 20} {
		resp, body, events := send("", size)
		if got, _ := checksum(strings.NewReader(body)); resp.StatusCode != 200 || got != contentSum(1, size) {
			t.Errorf("got %d, %d bytes; want 200, %d", resp.StatusCode, len(body), size)
		}
		if want := []string{"waits", "continue", "body read"}; !slices.Equal(events, want) {
			t.Errorf("got %q; want %q", events, want)
		}
		resp, _, events = send("?no", size)
		if resp.StatusCode != 403 || slices.Contains(events, "continue") || slices.Contains(events, "body read") {
			t.Errorf("a refused body: got %d and %q", resp.StatusCode, events)
		}
	}
}

func checkHints(t *testing.T, _ *exampleUpstream, url string) {
	var got []string
	req := newRequest(t, "GET", url+"/hints", nil)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got = append(got, fmt.Sprint(code, " ", strings.Join(h["Link"], " ")))
			return nil
		},
	}))
	resp, body := do(t, newClient(t), req)
	want := []string{"103 </style.css>; rel=preload", "103 </style.css>; rel=preload </more.css>; rel=preload"}
	if !slices.Equal(got, want) || resp.StatusCode != 200 || body != "page" || resp.Header.Get("Link") != "" {
		t.Errorf("got %q, then %d %q with %v; want %q", got, resp.StatusCode, body, resp.Header, want)
	}
}

func checkBodyless(t *testing.T, _ *exampleUpstream, url string) {
	client := newClient(t)
	for range 2 { // on one connection: none has a byte too many
		for _, tc := range []struct {
			method, path string
			status       int
			length       string
		}{
			{"HEAD", "/content/1/12345/0", 200, "12345"},
			{"HEAD", "/content/1/1000000/0", 200, "1000000"},
			{"HEAD", "/content/1/1000000/1", 200, ""},
			{"GET", "/status/204", 204, ""},
			{"GET", "/status/304", 304, ""},
			{"POST", "/status/204", 204, ""},
			{"GET", "/status/200", 200, "10"},
		} {
			resp, body := do(t, client, newRequest(t, tc.method, url+tc.path, nil))
			if got := resp.Header.Get("Content-Length"); resp.StatusCode != tc.status || got != tc.length || len(body) > 0 && tc.length != "10" {
				t.Errorf("%s %s: got %d, length %q, %d bytes; want %d, %q", tc.method, tc.path, resp.StatusCode, got, len(body), tc.status, tc.length)
			}
		}
	}
}

func checkStatuses(t *testing.T, _ *exampleUpstream, url string) {
	client := newClient(t)
	for code := 200; code < 600; code++ {
		want := fmt.Sprint("status ", code)
		if code == 204 || code == 304 {
			want = ""
		}
		resp, body := do(t, client, newRequest(t, "GET", fmt.Sprint(url, "/status/", code), nil))
		if resp.StatusCode != code || body != want || resp.Header.Get("X-Code") != strconv.Itoa(code) {
			t.Errorf("got %d %q; want %d", resp.StatusCode, body, code)
		}
	}
}

func checkDuplex(t *testing.T, _ *exampleUpstream, url string) {
	pr, pw := io.Pipe()
	resp, err := newClient(t).Do(newRequest(t, "POST", url+"/duplex", pr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for i := range 200 { // each line is answered before the next is written
		line := fmt.Sprintf("line %d %s", i, strings.Repeat("x", i*100))
		fmt.Fprintln(pw, line)
		if got, err := r.ReadString('\n'); got != "echo "+line+"\n" {
			t.Fatalf("got %d bytes, %v", len(got), err)
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
		t.Errorf("got %q, %v; want the end", rest, err)
	}
}

// Each event is to be at the client within 20 ms of its writing; ten times that is a failure.
func checkEvents(t *testing.T, u *exampleUpstream, url string) {
	resp, err := newClient(t).Get(url + "/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var took []time.Duration
	for s := bufio.NewScanner(resp.Body); s.Scan(); {
		if s.Text() == "" {
			continue
		}
		if want := fmt.Sprint("data: event ", len(took)); s.Text() != want {
			t.Errorf("got %q; want %q", s.Text(), want)
		}
		took = append(took, time.Since(<-u.eventc))
	}
	if len(took) != 100 {
		t.Fatalf("%d events; want 100", len(took))
	}
	median, most := spread(took)
	t.Logf("events at the client after %v at the median, %v at the most", median, most)
	if most > 200*time.Millisecond {
		t.Errorf("an event took %v; want 20ms", most)
	}
}

// A client that leaves is to be noticed within 1 s; ten times that is a failure.
func checkLeaving(t *testing.T, u *exampleUpstream, url string) {
	for _, tc := range []struct {
		name, query string
		body        io.Reader
	}{
		{"before the response", "", nil},
		{"in the response", "?half", nil},
		{"after a large body", "", newContent(1, 1<<20)},
		{"after a large body, in the response", "?half", newContent(1, 1<<20)},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		req := newRequest(t, "POST", url+"/wait"+tc.query, tc.body).WithContext(ctx)
		endc := make(chan error, 1)
		go func() {
			resp, err := newClient(t).Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			endc <- err
		}()
		await(t, u.gonec, tc.name+": a request")
		cancel()
		began := time.Now()
		if got := await(t, u.gonec, tc.name+": the request's end"); got != "left" {
			t.Fatal(got)
		}
		took := time.Since(began)
		t.Logf("%s: noticed after %v", tc.name, took)
		if took > 10*time.Second {
			t.Errorf("%s: noticed after %v; want 1s", tc.name, took)
		}
		if err := await(t, endc, "the client's end"); err == nil {
			t.Errorf("%s: the client got a whole response", tc.name)
		}
	}
}

func checkShortResponses(t *testing.T, _ *exampleUpstream, url string) {
	for _, framing := range []string{"length", "chunked"} {
		for _, n := range []int{0, 1000, 70_000, 1 << 20} {
			resp, err := newClient(t).Get(fmt.Sprintf("%s/short?n=%d&framing=%s", url, n, framing))
			if err != nil || resp.StatusCode == 502 {
				continue
			}
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err == nil {
				t.Errorf("%s, %d bytes: %d with %d bytes are taken for whole", framing, n, resp.StatusCode, len(got))
			}
		}
	}
}

func checkShortRequest(t *testing.T, u *exampleUpstream, url string) {
	for _, framing := range []string{"Content-Length: 2000000\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n1e8480\r\n"} {
		head, start, _ := strings.Cut(framing, "\r\n\r\n")
		nc := rawConn(t, strings.TrimPrefix(url, "http://"))
		// The upstream asks for the body first: a client that is gone before its request got there is none of its business.
		io.WriteString(nc, "POST /sum HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+head+"\r\n\r\n")
		io.ReadFull(nc, make([]byte, len("HTTP/1.1 100 Continue\r\n\r\n")))
		io.WriteString(nc, start)
		io.Copy(nc, newContent(1, 1_000_000))
		nc.Close()
		if err := await(t, u.bodyc, "the end of the body"); err == nil {
			t.Errorf("%s: half a request is taken for whole", head)
		}
	}
}

func checkTargets(t *testing.T, _ *exampleUpstream, url string) {
	addr := strings.TrimPrefix(url, "http://")
	nc := rawConn(t, addr)
	r := bufio.NewReader(nc)
	for _, line := range []string{
		"GET /", "GET //", "GET //a//b", "GET /./a/../b", "GET /%2F%2e%41", "GET /a;b=c;d", "GET /?", "GET /a?", "GET /a?b&&c=%20+d?e", "GET /a?x=//y/../z",
		"GET /~!$&'()*+,=:@", "GET /%e2%82%ac", "GET /" + strings.Repeat("long/", 3000), "OPTIONS *", "GET http://" + addr + "/absolute//a?b",
		"BREW /pot", "PROPFIND /dav", "X-%!#$&'*+-.^_`|~ /", "get /", "POST /", "PATCH /", "DELETE /a", "QUERY /q",
	} {
		method, target, _ := strings.Cut(line, " ")
		fmt.Fprintf(nc, "%s HTTP/1.1\r\nHost: %s\r\n\r\n", line, addr)
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		io.Copy(io.Discard, resp.Body)
		if line == "OPTIONS *" { // net/http answers it itself
			if resp.StatusCode != 200 {
				t.Errorf("%s: got %d", line, resp.StatusCode)
			}
			continue
		}
		if m, got := resp.Header.Get("X-Method"), resp.Header.Get("X-Target"); m != method || got != target {
			t.Errorf("%.200s: %d, the upstream saw %s %.200s", line, resp.StatusCode, m, got)
		}
	}
}

func TestEndToEndLargeHeads(t *testing.T) {
	up := startUpstream(t, echo)
	for _, tc := range []struct {
		flags  []string
		size   int
		status int
	}{
		{nil, 16 << 10, 200},
		{nil, 60 << 10, 200},
		{nil, 65 << 10, 431},
		{[]string{"--max-head", "16KiB"}, 16 << 10, 431},
		{[]string{"--max-head", "128KiB"}, 120 << 10, 200},
	} {
		t.Run(fmt.Sprint(tc.flags, tc.size), func(t *testing.T) {
			addr := span{"h2tpc", "zstd"}.start(t, up, tc.flags...)
			cookie := "a=" + strings.Repeat("b", tc.size-2)
			for i := range 4 { // the dictionary has seen it by then; the last two are streamed
				var body io.Reader
				if i >= 2 {
					body = newContent(1, 1<<20)
				}
				req := newRequest(t, "POST", "http://"+addr+"/", body)
				req.Header.Set("Cookie", cookie)
				resp, _ := do(t, newClient(t), req)
				if got := resp.Header.Get("Set-Cookie"); resp.StatusCode != tc.status || tc.status == 200 && got != cookie {
					t.Errorf("got %d, %d bytes of cookies; want %d, %d", resp.StatusCode, len(got), tc.status, tc.size)
				}
			}
		})
	}
}
