package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func writeToken(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTokenFileOpensTheHopAndIsReadAgain(t *testing.T) {
	const first, second = "the-first-token-1", "the-second-token-2"
	up := startUpstream(t, hello)
	backFile, frontFile := writeToken(t, first+"\n"), writeToken(t, first)
	back := startServe(t, "--listen", "h2tpc://127.0.0.1:0", "--to", up, "--token-file", backFile)
	front := startServe(t, "--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"), "--token-file", frontFile)
	wantHello(t, front.url(t, "http"))
	bad := startServe(t, "--listen", "http://127.0.0.1:0", "--to", back.url(t, "h2tpc"), "--token-file", writeToken(t, second))
	if code, _ := get(t, bad.url(t, "http")); code != 502 {
		t.Errorf("another token: got %d; want 502", code)
	}
	bad.out.await(t, `msg="peer refuses"`)
	if err := os.WriteFile(backFile, []byte(second+"\n"+first+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := signalTo(os.Getpid(), syscall.SIGHUP); err != nil { // to all of them
		t.Fatal(err)
	}
	back.out.await(t, `msg="token reloaded"`)
	bad.out.await(t, `msg="peer is up"`)
	wantHello(t, bad.url(t, "http"))
	wantHello(t, front.url(t, "http"))
	for _, p := range []*process{back, front, bad} {
		if strings.Contains(p.out.String(), first) || strings.Contains(p.out.String(), second) {
			t.Errorf("a token is in the log:\n%s", p.out)
		}
	}
}

func TestTokenFileThatIsWrong(t *testing.T) {
	for content, want := range map[string]string{
		"":                                     "line 1 has 0 bytes; want 16 to 1024",
		"short\n":                              "line 1 has 5 bytes",
		"0123456789abcdef\n\n0123456789abcdef": "line 2 has 0 bytes",
		"0123456789 abcdef":                    "line 1 has other bytes than visible ASCII",
		"0123456789abcdef\n" + strings.Repeat("x", 1025): "line 2 has 1025 bytes",
		strings.Repeat("0123456789abcdef\n", 17):         "more than 16 lines",
	} {
		path := writeToken(t, content)
		var out bytes.Buffer
		code := run(t.Context(), []string{"check", "--listen", "h2tpc://127.0.0.1:0", "--to", "http://a", "--token-file", path}, &out, &out)
		if got := out.String(); code != 2 || !strings.Contains(got, "h2tp: flag --token-file: "+path+": "+want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%.40q: got code %d, %q; want 2 and %q", content, code, got, want)
		}
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"check", "--listen", "h2tpc://127.0.0.1:0", "--to", "http://a", "--token-file", "/no/such"}, &out, &out); code != 2 || !strings.Contains(out.String(), "/no/such: no such file") {
		t.Errorf("got code %d, %q", code, &out)
	}
}

func TestTokenStaysWhenItsFileIsBroken(t *testing.T) {
	var log bytes.Buffer
	path := writeToken(t, "0123456789abcdef")
	tok, err := newToken(path, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	tok.reload()
	if got := tok.lines(); len(got) != 1 || got[0] != "0123456789abcdef" || !strings.Contains(log.String(), "line 1 has 6 bytes") || strings.Contains(log.String(), "secret") {
		t.Errorf("got %q; log %s", got, &log)
	}
}

func TestWhatIsNotSecureIsSaidAtEveryStart(t *testing.T) {
	file := writeToken(t, "0123456789abcdef")
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"--listen http://:8080 --to http://a", nil},
		{"--listen h2tpc://127.0.0.1:1 --to h2tpc://localhost:2,h2tpc://[::1]:3", nil},
		{"--listen h2tpc://:1 --to http://a", []string{"the hop of h2tpc://:1 is in the clear"}},
		{"--listen http://:1 --to h2tpc://10.0.0.1:2,h2tpc://b", []string{"the hop of h2tpc://10.0.0.1:2 is in the clear"}},
		{"--listen http://:1 --to h2tp://a --insecure-skip-verify", []string{"--insecure-skip-verify is set"}},
		{"--listen h2tpc://127.0.0.1:1 --to http://a --token-file " + file, []string{"--token-file is set and a hop is in the clear"}},
		{"--listen http://:1 --to h2tp://a --token-file " + file, nil},
		{"--listen http://:1 --to h2tpc://a,h2tp://b --insecure-skip-verify --token-file " + file,
			[]string{"--insecure-skip-verify is set", "the hop of h2tpc://a is in the clear", "--token-file is set and"}},
	} {
		o, _, err := parseOptions(strings.Fields(tt.args), &bytes.Buffer{})
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		got := o.warnings(nil)
		if len(got) != len(tt.want) {
			t.Errorf("%s: got %q; want %q", tt.args, got, tt.want)
			continue
		}
		for i, want := range tt.want {
			if !strings.HasPrefix(got[i], want) {
				t.Errorf("%s: got %q; want %q", tt.args, got[i], want)
			}
		}
	}
	p := startServe(t, "--listen", "h2tpc://:0", "--to", "http://127.0.0.1:1")
	if n := strings.Count(p.out.String(), `level=WARN msg="INSECURE: the hop of h2tpc://:0 is in the clear`); n != 1 {
		t.Errorf("said %d times; want once:\n%s", n, p.out)
	}
}
