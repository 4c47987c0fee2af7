package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
	"time"
)

// madeReport is a cell of three rounds: haproxy takes 40, 50, 60 us, h2tp half, a third
// and a quarter of that.
func madeReport(c cell) *report {
	r := &report{Machine: "a <machine>"}
	for round, cpu := range []float64{40, 60, 50} {
		share := []float64{0.5, 0.25, 0.2}[round]
		for name, us := range map[string]float64{"haproxy": cpu, "h2tp-none": cpu * share} {
			r.Measurements = append(r.Measurements, measurement{
				Cell: c.String(), Peer: name, Round: round, Bytes: 100,
				CPU:    map[string]float64{"front": us / 4, "back": us * 3 / 4, "client": 1000},
				Result: result{Exchanges: 2000, Seconds: 2, P99: 1500},
			})
		}
	}
	return r
}

func TestRatioIsTheMedianOfTheRounds(t *testing.T) {
	c := cell{"tiny", 64, uncapped, false}
	r := madeReport(c)
	if got := r.median(c.String(), "haproxy", figures[0]); got != 50 {
		t.Errorf("median: got %v; want 50", got)
	}
	if mid, low, high := r.ratio(c.String(), "h2tp-none", "haproxy", figures[0]); mid != 0.25 || low != 0.2 || high != 0.5 {
		t.Errorf("ratio: got %v (%v - %v); want 0.25 (0.2 - 0.5)", mid, low, high)
	}
	if mid, _, _ := r.ratio(c.String(), "h2tp-none", "nginx", figures[0]); mid != 0 {
		t.Errorf("ratio to a peer that did not take part: %v", mid)
	}
	var out bytes.Buffer
	r.writeCell(&out, c)
	if !strings.Contains(out.String(), "\n| h2tp-none | 15.0 | 0.25 (0.20-0.50) |") {
		t.Errorf("the table lacks the ratio:\n%s", &out)
	}
}

func TestMiddleOfAnEvenNumberIsBetweenTheTwo(t *testing.T) {
	for _, c := range []struct {
		vs   []float64
		want float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{4, 1}, 2.5}, {[]float64{9, 1, 2}, 2}} {
		if got := middle(c.vs); got != c.want {
			t.Errorf("%v: got %v; want %v", c.vs, got, c.want)
		}
	}
}

func TestAccountIsPerExchangeOfTheTimeItCovers(t *testing.T) {
	m := measurement{Result: result{Exchanges: 1000, Seconds: 1}}
	begun := time.Now()
	before := state{at: begun, usage: map[string]usage{"front": {cpu: time.Second, switches: 5}}, link: traffic{1000, 10}}
	// Read a second late: twice as many exchanges had been made.
	after := state{at: begun.Add(2 * time.Second), usage: map[string]usage{"front": {cpu: time.Second + 40*time.Millisecond, switches: 1005}}, link: traffic{401000, 2010}}
	m.account(before, after)
	if m.CPU["front"] != 20 || m.Waits["front"] != 0.5 || m.Bytes != 200 || m.Packets != 1 {
		t.Errorf("got %+v", m)
	}
}

func TestQuantiles(t *testing.T) {
	sorted := make([]int32, 100)
	for i := range sorted {
		sorted[i] = int32(i + 1)
	}
	if p50, p99 := quantile(sorted, 0.5), quantile(sorted, 0.99); p50 != 50 || p99 != 99 {
		t.Errorf("got %v, %v; want 50, 99", p50, p99)
	}
}

func TestPlotIsXML(t *testing.T) {
	d := xml.NewDecoder(bytes.NewReader(madeReport(cell{"tiny", 64, uncapped, true}).plot()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestConfigurationsAreComplete(t *testing.T) {
	nginx := nginxConf("LISTEN", "10.9.0.2:1 ssl", "TO", "127.0.0.1:2", "SCHEME", "http", "FLAGS", "gunzip on;", "THERE", "", "USER", "user root;", "DIR", "/d", "NAME", "n")
	haproxy := haproxyConf("127.0.0.1:1", "10.9.0.2:2 proto h2")
	for _, text := range []string{nginx, haproxy} {
		if left := regexp.MustCompile(`\b(LISTEN|TO|SCHEME|FLAGS|THERE|USER|DIR|NAME)\b`).FindString(text); left != "" {
			t.Errorf("%s was not filled in:\n%s", left, text)
		}
	}
	for _, want := range []string{"listen 10.9.0.2:1 ssl backlog=4096;", "server 127.0.0.1:2;", "proxy_pass http://to;", "pid /d/n.pid;"} {
		if !strings.Contains(nginx, want) {
			t.Errorf("nginx: no %q in:\n%s", want, nginx)
		}
	}
	for _, want := range []string{"bind 127.0.0.1:1\n", "server to 10.9.0.2:2 proto h2\n", "http-reuse always"} {
		if !strings.Contains(haproxy, want) {
			t.Errorf("HAProxy: no %q in:\n%s", want, haproxy)
		}
	}
}

func TestOptionsMakeCells(t *testing.T) {
	o, err := parseOptions(strings.Fields("-corpora tiny,rtb -clients 1,5000 -links uncapped,20mbit -tls off,on"))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(o.cells(true)); n != 8 || len(o.tlsModes()) != 2 {
		t.Errorf("got %d cells for each of %d modes; want 8, 2", n, len(o.tlsModes()))
	}
	for _, bad := range []string{"-clients 0", "-corpora big", "-tls maybe"} {
		if _, err := parseOptions(strings.Fields(bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
