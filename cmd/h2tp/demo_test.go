package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

func TestDemoShowsWhatItSays(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	p := start(t, "demo", "--listen", taken.Addr().String(), "--seconds", "3", "--compress", "snappy")
	p.out.await(t, taken.Addr().String()+" is taken")
	url, ok := strings.CutSuffix(p.out.await(t, "try   curl -i '"), "'")
	if !ok {
		t.Fatalf("no curl line in %s", p.out)
	}
	code, body := get(t, url)
	var got struct {
		Items []item `json:"items"`
	}
	if err := json.Unmarshal([]byte(body), &got); err != nil || code != 200 || len(got.Items) != 3 {
		t.Errorf("%s: %d %s, %v; want 3 items", url, code, body, err)
	}
	if code, body := get(t, p.out.await(t, "page      ")); code != 200 || !strings.Contains(body, "<title>h2tp</title>") {
		t.Errorf("the page: %d %s", code, body)
	}
	root := strings.TrimSuffix(url, "/items?n=3")
	if code, body := get(t, root+"/"); code != 200 || !strings.Contains(body, "/items") {
		t.Errorf("/: %d %s", code, body)
	}
	if code, _ := get(t, root+"/items?n=x"); code != 400 {
		t.Errorf("got %d; want 400", code)
	}
	want := strings.Repeat("0123456789abcdef", 1<<16)
	resp, err := http.Post(root+"/echo", "text/plain", strings.NewReader(want))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if echo, err := io.ReadAll(resp.Body); string(echo) != want || err != nil {
		t.Errorf("/echo: %d bytes, %v; want the %d sent", len(echo), err, len(want))
	}
	p.out.await(t, " %\n") // a line with a saving
	if code := p.ended(); code != 0 {
		t.Errorf("code %d; want 0", code)
	}
	if out := p.out.String(); strings.Contains(out, "failed") {
		t.Error(out)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	p := start(t, "demo", "--listen", "127.0.0.1:0", "--load", "0")
	p.out.await(t, "saved\n")
	began := time.Now()
	p.cancel()
	if code := p.ended(); code != 0 || time.Since(began) > demoDrain/2 {
		t.Errorf("code %d after %v; want 0 soon", code, time.Since(began))
	}
}

func TestReportLine(t *testing.T) {
	for _, tc := range []struct {
		before, now proxy.Stats
		want        string
	}{
		{proxy.Stats{}, proxy.Stats{}, "0 0 B 0 B -"},
		{proxy.Stats{}, proxy.Stats{HopIn: 34}, "0 0 B 34 B -"},
		{proxy.Stats{Exchanges: 1, ClientIn: 100, ClientOut: 100, HopIn: 50, HopOut: 50},
			proxy.Stats{Exchanges: 3, ClientIn: 200, ClientOut: 1000, HopIn: 150, HopOut: 200}, "2 1000 B 250 B 75.0 %"},
		{proxy.Stats{}, proxy.Stats{Exchanges: 1, ClientIn: 50, ClientOut: 50, HopIn: 60, HopOut: 60}, "1 100 B 120 B -20.0 %"},
	} {
		if got := strings.Join(strings.Fields(reportLine(tc.before, tc.now)), " "); got != tc.want {
			t.Errorf("got %q; want %q", got, tc.want)
		}
	}
}
