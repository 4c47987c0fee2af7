package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// output is what a running command wrote so far.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
	c  chan struct{} // closed and made anew at each write

	pid int // of a process of its own
}

func newOutput() *output { return &output{c: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.c)
	o.c = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

// await waits until the output holds s, and returns what stands behind it on its line.
func (o *output) await(t *testing.T, s string) string {
	t.Helper()
	late := time.After(patience)
	for {
		o.mu.Lock()
		all, c := o.b.String(), o.c
		o.mu.Unlock()
		if _, after, ok := strings.Cut(all, s); ok {
			if line, _, ok := strings.Cut(after, "\n"); ok {
				return line
			}
		}
		select {
		case <-c:
		case <-late:
			t.Fatalf("got %q; want a line with %q", all, s)
		}
	}
}

func TestExitCodesAndOneLineForAMistake(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	pem := writePEM(t, newAuthority(t), "127.0.0.1")
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("no PEM\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const (
		front = "serve --listen http://127.0.0.1:0 --to h2tpc://127.0.0.1:1 "
		tls   = "serve --listen http://127.0.0.1:0 --to h2tp://127.0.0.1:1 "
		back  = "serve --listen h2tp://127.0.0.1:0 --to http://127.0.0.1:1 "
		edge  = "serve --listen http://127.0.0.1:0 --to http://127.0.0.1:1 "
	)
	redirect := "serve --listen https://127.0.0.1:1 --to http://127.0.0.1:3 --cert " + pem.cert + " --key " + pem.key + " "
	for _, tc := range []struct {
		args string
		code int
		want string // in the line on standard error, or, when the code is 0, on standard output
	}{
		{"", 0, "Usage:"},
		{"help", 0, "Usage:"},
		{"version", 0, "h2tp "},
		{"version x", 2, `unexpected argument "x"`},
		{"help x", 2, `unexpected argument "x"`},
		{front + "--timeout 1", 2, "no unit"},
		{"serve --help", 0, "--batch-delay DURATION"},
		{"check --help", 0, "--batch-delay DURATION"},
		{"demo -h", 0, "--load N"},
		{"fly", 2, `unknown command "fly"`},
		{"serve", 2, "--listen is missing"},
		{"serve --to http://127.0.0.1:1", 2, "--listen is missing"},
		{"serve --listen http://:0", 2, "--to is missing"},
		{front + "--bogus", 2, "--bogus"},
		{front + "--bo\ngus", 2, "--bo gus"},
		{front + "more", 2, `unexpected argument "more"`},
		{front + "--conns", 2, "--conns"},
		{front + "--listen https://:0", 2, "--cert is missing, or --acme-names"},
		{front + "--listen unix://host/s", 2, "is not unix:///path"},
		{front + "--listen unix:s", 2, "is not unix:///path"},
		{front + "--to unix:///", 2, "is not unix:///path"},
		{front + "--to file:///no/file", 2, "no such file"},
		{front + "--to file://" + bad, 2, bad + ":1: "},
		{front + "--to https://x/path", 2, "has a path"},
		{front + "--unix-mode 0660", 2, "flag --unix-mode has no effect: no --listen URL has scheme unix"},
		{front + "--server-name x", 2, "flag --server-name has no effect"},
		{"serve --listen unix:///s --to http://x --unix-mode 8", 2, "octal"},
		{"serve --listen unix:///s --to http://x --reuse-port", 2, "every --listen URL has scheme unix"},
		{back + "--acme-names a.example", 2, "--acme-cache is missing"},
		{back + "--acme-cache x --cert x --key x", 2, "--acme-names is missing"},
		{back + "--acme-names localhost --acme-cache " + t.TempDir(), 2, "flags --acme-*"},
		{back + "--cert a,b --key a", 2, "name 2 and 1 files"},
		{back + "--client-names x --cert a --key a", 2, "--client-ca is missing"},
		{back + "--max-conns-per-addr 5", 2, "--cert is missing"}, // it has its effect on fronts
		{front + "--admin http://0.0.0.0:9901", 2, "--admin-public allows it"},
		{front + "--admin http://:9901", 2, "--admin-public allows it"},
		{front + "--admin http://example.com:9901", 2, "is not a loopback address"},
		{front + "--admin https://127.0.0.1:9901", 2, "does not begin with http:// or unix://"},
		{front + "--access-log-sample 0.5", 2, "--access-log is off"},
		{front + "--access-log-sample 2 --access-log -", 2, "want 0 to 1"},
		{front + "--access-log /no/such/dir/log", 2, "flag --access-log"},
		{front + "--trace-context drop", 2, "--trace-context"},
		{front + "--admin-public", 2, "--admin is missing"},
		{front + "--listen http://127.0.0.1:9901 --admin http://127.0.0.1:9901", 2, "the same address"},
		{front + "--admin http://" + taken.Addr().String(), 1, "flag --admin"},
		{front + "--listen ftp://:0", 2, "--listen"},
		{front + "--listen 127.0.0.1:0", 2, "--listen"},
		{front + "--listen http:127.0.0.1", 2, "--listen"},
		{front + "--listen http://", 2, "--listen"},
		{front + "--listen http://:8/path", 2, "--listen"},
		{front + "--listen http://:8?q", 2, "--listen"},
		{front + "--listen http://:8,http://:8", 2, "the same address"},
		{front + "--listen http://:80,h2tpc://:80", 2, "the same address"},
		{front + "--listen http://:65536", 2, "--listen"},
		{front + "--listen http://:8;", 2, "is neither allow=CIDR nor deny=CIDR"},
		{front + "--listen http://:8;weight=1", 2, "\"weight=1\" is neither allow=CIDR nor deny=CIDR"},
		{front + "--listen http://:8;allow=10.0.0.1/8", 2, "allow: \"10.0.0.1/8\" is no address and no network"},
		{front + "--listen http://:8;deny", 2, "deny: \"\" is no address"},
		{front + "--listen unix:///s;deny=::1", 2, "--unix-mode says who may come"},
		{front + "--to http://", 2, "--to"},
		{front + "--to h2tp://2001:db8::5:8443", 2, "IPv6 without brackets"},
		{front + "--to h2tp://*.foo:8443", 2, "no name and no address"},
		{front + "--listen h2tpc://::1:8443", 2, "IPv6 without brackets"},
		{front + "--listen http://*.foo:80", 2, "no name and no address"},
		{front + "--to file:///dev/null", 2, "/dev/null: no destination"},
		{front + "--to http://:80", 2, "no host"},
		{front + "--to http://x:0", 2, "port 0"},
		{front + "--to http://u:p@x", 2, "\"http://...@x\" has more than scheme, host, port and path"},
		{front + "--to http://x/path", 2, "has a path"},
		{front + "--to http://x,", 2, "--to"},
		{front + "--compress gzip", 2, "--compress"},
		{front + "--max-body 64KB", 2, "--max-body"},
		{front + "--max-body -1", 2, "--max-body"},
		{front + "--body-memory 1MiB", 2, "--body-memory"},
		{front + "--timeout 0", 2, "--timeout"},
		{front + "--timeout 10", 2, "--timeout"},
		{front + "--queue-timeout off", 2, "--queue-timeout"},
		{front + "--batch-delay 2s", 2, "--batch-delay"},
		{front + "--log-level loud", 2, "--log-level"},
		{front + "--log-format xml", 2, "--log-format"},
		{front + "--secret-fields a:b", 2, "--secret-fields"},
		{front + "--ca " + pem.ca, 2, "--ca has no effect"},
		{front + "--insecure-skip-verify", 2, "--insecure-skip-verify has no effect"},
		{front + "--cert " + pem.cert, 2, "--cert has no effect"},
		{front + "--max-upstream-conns 9", 2, "--max-upstream-conns has no effect"},
		{"serve --listen h2tpc://:0 --to http://a:1 --pipeline-conns 2", 2, "--pipeline-conns has no effect without --pipeline"},
		{"serve --listen h2tpc://:0 --to http://a:1 --compress auto --compress-level best", 2, "--compress-level has no effect with --compress auto"},
		{"serve --listen h2tpc://:0 --to http://a:1 --pipeline 1", 2, "--pipeline"},
		{"serve --listen h2tpc://:0 --to http://a:1 --pipeline 8 --max-upstream-conns 4", 2, "--max-upstream-conns: --pipeline-conns is 4"},
		{edge + "--compress none", 2, "--compress has no effect"},
		{edge + "--conns 2", 2, "--conns has no effect"},
		{tls + "--insecure-skip-verify=x", 2, "--insecure-skip-verify"},
		{tls + "--insecure-skip-verify --ca " + pem.ca, 2, "--insecure-skip-verify and --ca"},
		{tls + "--client-key " + pem.key, 2, "--client-cert and --client-key"},
		{tls + "--ca " + bad, 2, "--ca"},
		{tls + "--client-cert " + bad + " --client-key " + bad, 2, "--client-cert"},
		{back, 2, "--cert is missing"},
		{back + "--key " + pem.key, 2, "--cert is missing"},
		{back + "--cert " + pem.cert, 2, "--key is missing"},
		{back + "--cert /no/file --key " + pem.key, 2, "--cert"},
		{back + "--cert " + pem.key + " --key " + pem.cert, 2, "--key"},
		{back + "--max-conns 9 --cert " + pem.cert + " --key " + pem.key, 2, "--max-conns has no effect"},
		{back + "--client-ca " + bad + " --cert " + pem.cert + " --key " + pem.key, 2, "--client-ca"},
		{front + "--listen http://" + taken.Addr().String(), 1, "--listen"},
		{front + "--listen unix://" + bad, 2, "is there and is no socket"},
		{front + "--listen unix://" + bad + "/s", 2, "not a directory"},
		{front + "--admin unix://" + bad, 2, "flag --admin: "},
		{front + "--access-log " + filepath.Dir(bad), 2, "flag --access-log: " + filepath.Dir(bad) + " is a directory"},
		{front + "--access-log " + bad + "/log", 2, "flag --access-log: "},
		{redirect + "--redirect 127.0.0.1:1", 2, `flag --redirect: "https://127.0.0.1:1" and "127.0.0.1:1" are the same address`},
		{redirect + "--redirect :80 --redirect :80", 2, `":80" and ":80" are the same address`},
		{redirect + "--redirect 127.0.0.1:2 --admin http://127.0.0.1:2", 2, `flag --redirect: "http://127.0.0.1:2" and "127.0.0.1:2" are the same address`},
		{"demo more", 2, `unexpected argument "more"`},
		{"demo --listen 8080", 2, "--listen"},
		{"demo --load -1", 2, "--load"},
		{"demo --compress gzip", 2, "--compress"},
	} {
		t.Run(tc.args, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // what serves by mistake ends at once
			args := strings.Split(tc.args, " ")
			if tc.args == "" {
				args = nil
			}
			if last := len(args) - 1; last >= 0 && args[last] == "" {
				args = args[:last]
			}
			if code := run(ctx, args, &stdout, &stderr); code != tc.code {
				t.Errorf("code %d, %q; want %d", code, &stderr, tc.code)
			}
			got, other := stderr.String(), stdout.String()
			if tc.code == 0 {
				got, other = other, got
			} else if strings.Count(got, "\n") != 1 || !strings.HasSuffix(got, "\n") {
				t.Errorf("got %q; want one line", got)
			}
			if !strings.Contains(got, tc.want) {
				t.Errorf("got %q; want it to name %q", got, tc.want)
			}
			if other != "" {
				t.Errorf("the other output has %q", other)
			}
		})
	}
}
