package main

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestAccessLogHasEachExchangeAndIsOpenedAnew(t *testing.T) {
	upstream := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Request-Id") == "" || len(r.Header.Get("Traceparent")) != 55 {
			w.WriteHeader(500)
		}
	})
	dir := t.TempDir()
	file, old := filepath.Join(dir, "log"), filepath.Join(dir, "log.1")
	p := startServe(t, "--listen", "http://127.0.0.1:0", "--to", upstream, "--access-log", file, "--request-id", "--trace-context", "start")
	url := p.url(t, "http")
	if code, body := get(t, url+"/one?key=secret"); code != 200 {
		t.Fatal(code, body)
	}
	if err := os.Rename(file, old); err != nil {
		t.Fatal(err)
	}
	if err := signalTo(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.out.await(t, "msg=reloaded")
	for { // the file is opened right after
		if _, err := os.Stat(file); err == nil {
			break
		}
	}
	get(t, url+"/two")
	p.cancel()
	if code := p.ended(); code != 0 {
		t.Fatal(code, p.out)
	}
	first, _ := os.ReadFile(old)
	second, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimSuffix(string(first)+string(second), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %q; want two lines", lines)
	}
	for i, target := range []string{"/one", "/two"} {
		var got struct {
			Target, Client, Destination, Way string
			Status                           int
			RequestID                        string `json:"request_id"`
			Traceparent                      string
		}
		if err := json.Unmarshal([]byte(lines[i]), &got); err != nil {
			t.Fatal(err)
		}
		if got.Target != target || got.Status != 200 || got.Client != "127.0.0.1" || got.Destination != upstream || got.Way != "batched" || len(got.RequestID) != 32 || len(got.Traceparent) != 55 {
			t.Errorf("got %s", lines[i])
		}
	}
}
