package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

func TestHealthIsTheExitCode(t *testing.T) {
	upstream := startUpstream(t, hello)
	path := filepath.Join(t.TempDir(), "admin")
	p := startServe(t, "--listen", "http://127.0.0.1:0", "--to", upstream, "--admin", "unix://"+path)
	ask := func(want int, say string, args ...string) {
		t.Helper()
		out := newOutput()
		if code := run(t.Context(), append([]string{"health"}, args...), out, out); code != want || !strings.Contains(out.String(), say) {
			t.Errorf("health %q: code %d, %q; want %d, %q", args, code, out, want, say)
		}
	}
	ask(exitOK, "ready", "unix://"+path)
	t.Setenv("H2TP_ADMIN", "unix://"+path)
	ask(exitOK, "ready")
	ask(exitOK, "Usage", "--help")
	ask(exitUsage, "unexpected argument", "http://127.0.0.1:1", "more")
	ask(exitUsage, "is not http://", "ftp://x")
	notFound := startUpstream(t, http.NotFound)
	ask(exitFailed, "404", notFound+"/healthz")
	p.cancel()
	p.ended()
	ask(exitFailed, "unix")
	t.Setenv("H2TP_ADMIN", "")
	ask(exitUsage, "H2TP_ADMIN")
}
