package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// An upstream that takes no more than its bound, and a queue that is full: what comes beyond is refused at once, those who
// watch are answered meanwhile, and who waited is served in the end.
func TestEndToEndOverload(t *testing.T) {
	letGo := make(chan struct{})
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		<-letGo
		hello(w, r)
	})
	defer func() {
		select {
		case <-letGo:
		default:
			close(letGo)
		}
	}()
	back := spawn(t, h2tp(t), "serve", "--listen", "h2tpc://127.0.0.1:0", "--to", upstream+";max=2",
		"--max-queue", "3", "--queue-timeout", "1m", "--admin", "http://127.0.0.1:0")
	back.await(t, "msg=serving")
	admin := "http://" + back.await(t, "addr=http://")
	front := spawnServe(t, "--listen", "http://127.0.0.1:0", "--to", back.await(t, "msg=listening url="))

	served := make(chan string, 5)
	for range 5 {
		go func() {
			resp, err := http.Get(front + "/")
			if err != nil {
				served <- err.Error()
				return
			}
			resp.Body.Close()
			served <- resp.Status
		}()
	}
	has := func(metric string) bool {
		t.Helper()
		code, page := get(t, admin+"/metrics")
		if code != 200 {
			t.Fatal(code, page)
		}
		for line := range strings.Lines(page) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "} ")
			if want, number, _ := strings.Cut(metric, " "); strings.HasPrefix(name, want) && value == number {
				return true
			}
		}
		return false
	}
	for deadline := time.Now().Add(patience); !has("h2tp_destination_waiting 3"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("no three exchanges wait")
		}
	}
	client := newClient(t)
	for i := range 20 {
		began := time.Now()
		resp, body := do(t, client, newRequest(t, "POST", fmt.Sprint(front, "/", i), strings.NewReader("beyond")))
		if took := time.Since(began); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || took > patience/2 {
			t.Fatalf("%s %q, Retry-After %q after %v; want 503 at once", resp.Status, body, resp.Header.Get("Retry-After"), took)
		}
		for _, path := range []string{"/healthz", "/readyz"} {
			if code, body := get(t, admin+path); code != 200 {
				t.Fatalf("%s: %d %s", path, code, body)
			}
		}
	}
	for _, want := range []string{"h2tp_destination_limit 2", "h2tp_destination_in_flight 5", "h2tp_destination_overloads_total 20"} {
		if !has(want) {
			t.Errorf("no %s", want)
		}
	}
	close(letGo)
	for range 5 {
		if got := <-served; got != "200 OK" {
			t.Errorf("one that ran or waited got %s", got)
		}
	}
}
