//go:build unix

package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// replaceByPipe puts a pipe in the place of a file.
func replaceByPipe(t *testing.T, path string) {
	t.Helper()
	next := path + ".pipe"
	if err := syscall.Mkfifo(next, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
}

func TestAConfigurationComesByAPipeOnce(t *testing.T) {
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "up") })
	text := "listen: http://127.0.0.1:0\nto: " + up + "\nadmin: http://127.0.0.1:0\n"
	pipe := filepath.Join(t.TempDir(), "pipe")
	replaceByPipe(t, pipe)
	wrote := make(chan error, 1)
	go func() { wrote <- os.WriteFile(pipe, []byte(text), 0) }()
	p := startServe(t, "--config", pipe)
	if err := await(t, wrote, "the pipe to be read"); err != nil {
		t.Fatal(err)
	}
	f := newConfigFile(t, text)
	q := startServe(t, "--config", f.path)
	replaceByPipe(t, f.path)
	for _, p := range []*process{p, q} {
		resp, body := do(t, newClient(t), newRequest(t, "POST", "http://"+p.out.await(t, "addr=http://")+"/reload", nil))
		if resp.StatusCode != 500 || !strings.Contains(body, ":1: it is no regular file") {
			t.Errorf("got %s: %s; want 500 and why", resp.Status, body)
		}
		if _, body := get(t, p.url(t, "http")); body != "up" {
			t.Errorf("got %q; want it to serve as before", body)
		}
	}
}

// A file system that answers nothing is as a pipe that nobody writes to.
func TestAReloadThatHangsKeepsNobodyFromStopping(t *testing.T) {
	token := writeToken(t, "0123456789abcdef")
	p := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", "http://127.0.0.1:1", "--token-file", token)
	replaceByPipe(t, token)
	if err := signalTo(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	w, err := os.OpenFile(token, os.O_WRONLY, 0) // once it is being read
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	p.cancel()
	if code := await(t, p.codec, "the end"); code != 0 || !strings.Contains(p.out.String(), "files are still being read") {
		t.Errorf("got code %d; want 0 and what is left\n%s", code, p.out)
	}
	close(p.codec)
}
