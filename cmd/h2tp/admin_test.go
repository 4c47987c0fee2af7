package main

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// adminURL returns where the admin listener answers.
func (p *process) adminURL(t *testing.T) string {
	t.Helper()
	return p.out.await(t, `msg="admin listens" addr=`)
}

// startAdminPair runs a back and a front, each with an admin listener.
func startAdminPair(t *testing.T, upstream string, frontFlags ...string) (back, front *process, url string) {
	t.Helper()
	back = startServe(t, "--listen", "h2tpc://127.0.0.1:0/p", "--to", upstream, "--admin", "http://127.0.0.1:0")
	front = startServe(t, append([]string{"--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"), "--admin", "http://127.0.0.1:0"}, frontFlags...)...)
	return back, front, front.url(t, "http")
}

func TestMetricsOfARealPairPassPromtool(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil && os.Getenv("CI") == "" {
		t.Skip("no promtool")
	} else if err != nil {
		t.Fatal(err)
	}
	back, front, url := startAdminPair(t, startUpstream(t, hello))
	for range 3 {
		get(t, url+"/a")
	}
	pages := map[string][]string{
		front.adminURL(t): {
			`h2tp_exchanges_total{end="http",route="default",method="GET",status="2xx"} 3`, `h2tp_exchange_duration_seconds_count{end="http",route="default"} 3`,
			`h2tp_destination_up{end="http",route="default",destination="` + strings.TrimSuffix(back.url(t, "h2tpc"), "/") + `"} 1`, `direction="out"} 3`,
			`h2tp_exchanges_in_flight{end="http",route="default"} 0`, `h2tp_client_connections_total{end="http"} 3`,
		},
		back.adminURL(t): {
			`h2tp_exchanges_total{end="h2tpc/p",route="default",method="GET",status="2xx"} 3`, `kind="upstream"} 3`,
			`h2tp_hop_sessions{end="h2tpc/p",route="",peer="fronts"} 1`,
		},
	}
	for at, wants := range pages {
		code, page := get(t, at+"/metrics")
		if code != 200 {
			t.Fatal(code, page)
		}
		for _, want := range wants {
			if !strings.Contains(page, want+"\n") {
				t.Errorf("the page lacks %s:\n%s", want, page)
			}
		}
		cmd := exec.CommandContext(t.Context(), promtool, "check", "metrics")
		cmd.Stdin = strings.NewReader(page)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("promtool: %v\n%s", err, out)
		}
	}
}

// Health is answered while the ends refuse, and a drain by POST is as SIGTERM: not ready, and the exit code 0.
func TestAdminAnswersUnderOverloadAndDrains(t *testing.T) {
	runs, letGo := make(chan struct{}), make(chan struct{})
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(runs)
			<-letGo
		}
		hello(w, r)
	})
	_, front, url := startAdminPair(t, upstream, "--max-exchanges", "1")
	at := front.adminURL(t)
	get(t, url+"/") // the back has been reached
	if code, body := get(t, at+"/readyz"); code != 200 {
		t.Fatal(code, body)
	}
	slow := make(chan string, 1)
	go func() {
		resp, err := http.Get(url + "/slow")
		if err != nil {
			slow <- err.Error()
			return
		}
		resp.Body.Close()
		slow <- resp.Status
	}()
	<-runs
	if code, _ := get(t, url+"/"); code != 503 {
		t.Errorf("%d; want 503: the front is full", code)
	}
	for _, path := range []string{"/healthz", "/readyz", "/metrics", "/status", "/debug/pprof/goroutine?debug=1"} {
		if code, body := get(t, at+path); code != 200 {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	post := func(path string) int {
		resp, err := http.Post(at+path, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if code := post("/reload"); code != 200 {
		t.Errorf("reload: %d", code)
	}
	front.out.await(t, "msg=reloaded")
	if code := post("/drain"); code != 202 {
		t.Errorf("drain: %d", code)
	}
	front.out.await(t, "msg=draining")
	if code, body := get(t, at+"/readyz"); code != 503 || body != "draining\n" {
		t.Errorf("readyz: %d %q; want 503", code, body)
	}
	if code, _ := get(t, at+"/healthz"); code != 200 {
		t.Errorf("healthz: %d; want 200: the process lives", code)
	}
	close(letGo)
	if got := <-slow; got != "200 OK" {
		t.Errorf("the exchange that ran got %q", got)
	}
	if code := front.ended(); code != 0 {
		t.Errorf("code %d, %s", code, front.out)
	}
}

func TestReadyOnlyWithADestination(t *testing.T) {
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", "h2tpc://127.0.0.1:1", "--admin", "http://127.0.0.1:0")
	at := front.adminURL(t)
	if code, body := get(t, at+"/readyz"); code != 503 || body != "no destination of http is up\n" {
		t.Errorf("got %d %q", code, body)
	}
	_, body := get(t, at+"/status")
	var st struct {
		Ends []struct {
			Destinations []struct {
				Up  bool
				Why string
			}
		}
	}
	late := time.Now().Add(patience)
	for {
		if err := json.Unmarshal([]byte(body), &st); err != nil {
			t.Fatal(err)
		}
		if d := st.Ends[0].Destinations[0]; !d.Up && strings.Contains(d.Why, "refused") {
			break
		}
		if time.Now().After(late) {
			t.Fatalf("status does not say why: %s", body)
		}
		_, body = get(t, at+"/status")
	}
}

func TestAdminOnAUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "admin")
	startServe(t, "--listen", "http://127.0.0.1:0", "--to", "http://127.0.0.1:1", "--admin", "unix://"+path, "--unix-mode", "0600")
	fi, err := os.Stat(path)
	if err != nil || fi.Mode().Perm() != 0o600 {
		t.Fatal(fi.Mode(), err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) }}}
	resp, err := client.Get("http://h2tp/healthz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 200 {
		t.Error(resp.Status)
	}
}
