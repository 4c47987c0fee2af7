package main

import (
	_ "embed"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

//go:embed testdata/contrast.js
var contrastScript string

// forward is what ssh -L is: a TCP port of this machine that leads to a unix socket.
func forward(t *testing.T, socket string) (url string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go join(nc, socket)
		}
	}()
	return "http://" + ln.Addr().String() + "/"
}

func join(nc net.Conn, socket string) {
	defer nc.Close()
	to, err := net.Dial("unix", socket)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		io.Copy(to, nc)
		to.Close()
	}()
	io.Copy(nc, to)
}

// sendSteadily sends requests until the test is over, and returns how many a second were answered so far.
func sendSteadily(t *testing.T, url string) (answered func() float64) {
	var n atomic.Int64
	client, began, donec := newClient(t), time.Now(), make(chan struct{})
	t.Cleanup(func() { <-donec })
	go func() {
		defer close(donec)
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-t.Context().Done():
				return
			case <-ticker.C:
			}
			resp, err := client.Get(url)
			if err != nil {
				continue // a front that is being started again
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			n.Add(1)
		}
	}()
	return func() float64 { return float64(n.Load()) / time.Since(began).Seconds() }
}

// items is a response that compresses.
func items(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for i := range 40 {
		fmt.Fprintf(w, `{"id":%d,"name":"item","isThere":true},`, i)
	}
}

// check wants what a page is to be in any state, on a phone and on a desk, by day and by night.
func (b *tab) check(origin string) {
	b.t.Helper()
	for _, size := range [][2]int{{1280, 800}, {360, 740}} {
		for _, scheme := range []string{"light", "dark"} {
			b.be(size[0], size[1], scheme)
			name := fmt.Sprintf("%dx%d, %s", size[0], size[1], scheme)
			b.until(fmt.Sprintf("innerWidth === %d && matchMedia('(prefers-color-scheme: %s)').matches", size[0], scheme))
			b.until(fmt.Sprintf("Math.max(...[...document.querySelectorAll('canvas')].map((c) => c.getBoundingClientRect().right)) <= %d", size[0])) // resized
			wide := eval[[]string](b, fmt.Sprintf("[...document.querySelectorAll('body *')].filter((e) => !e.closest('.unseen, thead') && e.getBoundingClientRect().right > %d).map((e) => e.outerHTML.slice(0, 80))", size[0]))
			if n := eval[int](b, "document.documentElement.scrollWidth"); n > size[0] || len(wide) > 0 {
				b.t.Errorf("%s: %d wide: %q", name, n, wide)
			}
			for _, bad := range eval[[]string](b, contrastScript) {
				b.t.Errorf("%s: contrast of %s", name, bad)
			}
		}
		b.checkSpoken(size[0])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, url := range b.requests {
		if !strings.HasPrefix(url, origin) && url != "about:blank" {
			b.t.Errorf("a request to %s", url)
		}
	}
}

// checkSpoken wants the parts that who cannot see the page goes by; tables are such at any width, also where they look like cards.
func (b *tab) checkSpoken(width int) {
	b.t.Helper()
	roles := make(map[string]int)
	for _, n := range ask[struct {
		Nodes []struct {
			Ignored bool
			Role    struct{ Value string }
		}
	}](b, "Accessibility.getFullAXTree", nil).Nodes {
		if !n.Ignored {
			roles[n.Role.Value]++
		}
	}
	for _, role := range []string{"banner", "main", "contentinfo", "navigation", "status", "table", "columnheader", "rowheader", "cell"} {
		if roles[role] == 0 {
			b.t.Errorf("%d wide: nothing is a %s: %v", width, role, roles)
		}
	}
}

func textOf(id string) string { return "document.getElementById('" + id + "').innerText" }

func TestEndToEndPageOfAPair(t *testing.T) {
	b := openTab(t)
	dir := t.TempDir()
	first := httptest.NewServer(http.HandlerFunc(items))
	t.Cleanup(first.Close)
	back := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", first.URL+";weight=3,"+startUpstream(t, items), "--admin", "unix://"+filepath.Join(dir, "back"))
	serveFront := func() *process {
		return startServe(t, "--listen", "unix://"+filepath.Join(dir, "web"), "--to", strings.TrimSuffix(back.url(t, "h2tpc"), "/"), "--admin", "unix://"+filepath.Join(dir, "front"))
	}
	front := serveFront()
	sent := sendSteadily(t, forward(t, filepath.Join(dir, "web")))

	page := forward(t, filepath.Join(dir, "front"))
	b.be(1280, 800, "light")
	b.open(page)
	b.until(textOf("state") + " === 'OK'")
	b.until("parseFloat(" + textOf("requests") + ") > 0 && parseFloat(" + textOf("saving") + ") > 0 && parseFloat(" + textOf("saved") + ") > 0")
	if shown, sent := eval[float64](b, "parseFloat("+textOf("requests")+")"), sent(); shown < sent/4 || shown > sent*4 {
		t.Errorf("%v requests a second are shown; %.1f were sent", shown, sent)
	}
	if got := eval[string](b, textOf("latency")); !strings.Contains(got, "s / ") {
		t.Errorf("latency %q", got)
	}
	b.until(textOf("destinations") + ".includes('h2tpc://') && " + textOf("hops") + ".includes('zstd')")
	b.until("[...document.querySelectorAll('figure')].length === 4 && [...document.querySelectorAll('figure li:first-child b')].every((e) => /\\d/.test(e.innerText))")
	b.check(page)

	// The process goes, and another comes: no rate across them.
	front.cancel()
	if code := front.ended(); code != 0 {
		t.Fatal(code, front.out)
	}
	b.until("/^No answer since \\d\\d:\\d\\d:\\d\\d$/.test(" + textOf("state") + ") && " + textOf("requests") + " === '–'")
	b.check(page)
	serveFront()
	b.until(textOf("state") + " === 'OK' && parseFloat(" + textOf("requests") + ") > 0")
	b.until("!" + textOf("requests") + ".includes('−') && !" + textOf("saved") + ".includes('−')")
	if list := b.complaints("net::ERR_"); len(list) > 0 { // while there was no answer
		t.Errorf("the console says %q", list)
	}
	drain := newRequest(t, "POST", page+"drain", nil)

	backPage := forward(t, filepath.Join(dir, "back"))
	b.mu.Lock()
	b.requests = nil
	b.mu.Unlock()
	b.open(backPage)
	b.until(textOf("state") + " === 'OK' && " + textOf("destinations") + ".includes('up')")
	first.CloseClientConnections()
	first.Close()
	b.until(textOf("state") + " === 'Degraded' && " + textOf("why") + ".includes('is down (1 of 2)') && " + textOf("why") + ".includes('refused')")
	b.until(textOf("destinations") + ".includes('down') && " + textOf("destinations") + ".includes('refused')")
	b.check(backPage)
	if list := b.complaints(""); len(list) > 0 {
		t.Errorf("the console says %q", list)
	}
	if resp, body := do(t, newClient(t), drain); resp.StatusCode != 202 {
		t.Error(resp.Status, body)
	}
}

// What runs keeps a front draining; the page says so.
func TestEndToEndPageSaysDraining(t *testing.T) {
	b := openTab(t)
	runs, letGo := make(chan struct{}), make(chan struct{})
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		close(runs)
		<-letGo
	})
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", upstream, "--admin", "http://127.0.0.1:0", "--drain-timeout", "1m")
	slow, url := make(chan int, 1), front.url(t, "http")
	go func() {
		resp, err := http.Get(url)
		if err != nil {
			slow <- 0
			return
		}
		resp.Body.Close()
		slow <- resp.StatusCode
	}()
	await(t, runs, "the request")
	b.be(1280, 800, "dark")
	b.open(front.adminURL(t) + "/")
	b.until(textOf("state") + " === 'OK' && " + textOf("saving-more") + " === 'no hop' && document.getElementById('hops-section').hidden")
	if resp, body := do(t, newClient(t), newRequest(t, "POST", front.adminURL(t)+"/drain", nil)); resp.StatusCode != 202 {
		t.Fatal(resp.Status, body)
	}
	b.until(textOf("state") + " === 'Draining' && document.title.startsWith('Draining')")
	b.until("document.getElementById('said').textContent.startsWith('Draining')")
	close(letGo)
	if code := await(t, slow, "the response"); code != 200 {
		t.Error(code)
	}
	b.until(textOf("state") + ".startsWith('No answer')")
	if code := front.ended(); code != 0 {
		t.Error(code, front.out)
	}
}
