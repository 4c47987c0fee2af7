package main

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/proxy"
)

func TestHelpAndReadmeListEveryFlag(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var help bytes.Buffer
	if code := run(t.Context(), []string{"serve", "--help"}, &help, &help); code != 0 {
		t.Fatal(code, help.String())
	}
	var names []string
	var table strings.Builder
	isMissing := false
	for _, s := range new(options).settings() {
		names = append(names, s.name)
		row := fmt.Sprintf("| `--%s` | %s | %s |\n", s.name, s.def, s.usage)
		row = strings.Replace(row, "|  |", "| |", 1)
		table.WriteString(row)
		if !strings.Contains(string(readme), row) {
			isMissing = true
			t.Errorf("README.md lacks the row of --%s, or has another", s.name)
		}
		head := "\n  --" + s.name + " " + s.arg
		if s.arg == "" {
			head = "\n  --" + s.name
		}
		if !strings.Contains(help.String(), head) {
			t.Errorf("the help lacks --%s", s.name)
		}
		if s.def != "" && !strings.Contains(help.String(), strings.TrimRight(head, " ")+"   (default "+s.def+")\n") {
			t.Errorf("the help lacks the default of --%s", s.name)
		}
	}
	if isMissing {
		t.Log("the table is:\n" + table.String())
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `--([a-z0-9-]+)` \\|").FindAllSubmatch(readme, -1) {
		if !slices.Contains(names, string(m[1])) {
			t.Errorf("README.md has --%s; h2tp serve has not", m[1])
		}
	}
}

// A field without a flag could not be set by who runs the command.
func TestEveryFieldOfTheProxyHasAFlag(t *testing.T) {
	other := map[string]string{"TLS": "ca", "Memory": "codec-memory", "Windows": "window-memory", "Secrets": "secret-fields", "Tokens": "token-file", "TrustNobody": "trusted-proxies"}
	capital := regexp.MustCompile("[A-Z][a-z]+|[A-Z]+")
	for _, typ := range []reflect.Type{reflect.TypeFor[proxy.Limits](), reflect.TypeFor[proxy.Hop](), reflect.TypeFor[proxy.Balance](), reflect.TypeFor[proxy.Entry]()} {
		for field := range typ.Fields() {
			name := other[field.Name]
			if name == "" {
				name = strings.ToLower(strings.Join(capital.FindAllString(field.Name, -1), "-"))
			}
			if !slices.ContainsFunc(new(options).settings(), func(s *setting) bool { return s.name == name }) {
				t.Errorf("%s.%s has no flag --%s", typ.Name(), field.Name, name)
			}
		}
	}
}

// The bounds that the flags name are those of package proxy.
func TestProxyTakesTheBoundsOfFlags(t *testing.T) {
	for _, s := range new(options).settings() {
		m := regexp.MustCompile(`want (\S+) to ([^\s,]+)(, or off)?$`).FindStringSubmatch(errorOf(s.set("?")))
		if m == nil {
			continue
		}
		values := m[1:3]
		if m[3] != "" {
			values = append(values, "off")
		}
		for _, v := range values {
			o := new(options)
			for _, x := range o.settings() {
				if x.name == s.name {
					if err := x.set(v); err != nil {
						t.Errorf("--%s %s: %v", s.name, v, err)
					}
					if got := x.get(); got != v {
						t.Errorf("--%s %s is shown as %s", s.name, v, got)
					}
				}
			}
			b, err := proxy.NewBack(proxy.Config{Limits: o.Limits, Hop: o.Hop, Balance: o.Balance, Cleartext: true, Handler: func(*fasthttp.RequestCtx) {}})
			if err != nil {
				t.Errorf("--%s %s: %v", s.name, v, err)
				continue
			}
			b.Close()
		}
	}
}

func errorOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestCheckPrintsWhatTheFlagsComeTo(t *testing.T) {
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"check", "--listen", "http://:0", "--listen=h2tpc://:0/a/", "--to", "h2tpc://a, h2tpc://b:99/p",
		"--compress", "flate", "--max-body", "65536", "--timeout", "off", "--batch-delay=50us", "--secret-fields", "X-A,X-B",
		"--stream-max-age", "90m"}, &stdout, &stderr)
	if code != 0 || stderr.Len() > 0 {
		t.Fatalf("code %d, %q; want 0 and nothing", code, &stderr)
	}
	lines := strings.Split(strings.TrimSuffix(stdout.String(), "\n"), "\n")
	for _, want := range []string{
		"listen = http://:0,h2tpc://:0/a/", "to = h2tpc://a,h2tpc://b:99/p", "compress = flate", "max-body = 64KiB",
		"timeout = off", "batch-delay = 50µs", "secret-fields = X-A,X-B", "stream-max-age = 1h30m", "conns = 2",
		"idle-timeout = 75s for clients, 55s for upstreams",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
	for _, line := range lines { // neither end has TLS, nor an upstream
		for _, name := range []string{"cert", "insecure-skip-verify", "max-upstream-conns", "unix-mode"} {
			if strings.HasPrefix(line, name+" = ") {
				t.Errorf("line %q; such a flag would have no effect", line)
			}
		}
	}
}

func TestSizes(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "1": 1, "64KiB": 1 << 16, "4MiB": 4 << 20, "3GiB": 3 << 30, "1536": 1536, "4611686018427387903": 1<<62 - 1} {
		if got, err := parseSize[int64](s); got != want || err != nil {
			t.Errorf("parseSize(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "KiB", "-1", "+1", "1.5MiB", "64KB", "64 KiB", "4611686018427387904", "4294967296GiB"} {
		if got, err := parseSize[int64](s); err == nil {
			t.Errorf("parseSize(%q) = %d; want an error", s, got)
		}
	}
	for n, want := range map[int64]string{0: "0", 1: "1", 1536: "1536", 1 << 16: "64KiB", 7 << 20: "7MiB", 1 << 40: "1024GiB"} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %s; want %s", n, got, want)
		}
	}
}

func TestNobodyIsTrustedOrSomeAre(t *testing.T) {
	for _, tt := range []struct {
		values []string
		shown  string // empty when the last is refused
	}{
		{[]string{"none"}, "none"},
		{[]string{"none", "none"}, "none"},
		{[]string{"10.0.0.0/8", "::1"}, "10.0.0.0/8,::1/128"},
		{[]string{"none", "10.0.0.0/8"}, ""},
		{[]string{"10.0.0.0/8", "none"}, ""},
		{[]string{"10.0.0.0/8,none"}, ""},
	} {
		o := new(options)
		list := o.settings()
		s := list[slices.IndexFunc(list, func(s *setting) bool { return s.name == "trusted-proxies" })]
		var err error
		for _, v := range tt.values {
			err = s.set(v)
		}
		if err != nil {
			if tt.shown != "" {
				t.Errorf("%q: %v", tt.values, err)
			}
			continue
		}
		if got := s.get(); got != tt.shown || o.TrustNobody != (tt.shown == none) {
			t.Errorf("%q: shown as %q, nobody %v; want %q", tt.values, got, o.TrustNobody, tt.shown)
		}
	}
}
