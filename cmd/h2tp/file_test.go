package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func writeConfig(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "h2tp.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// What is wrong with a file is one line that says where.
func TestBrokenFiles(t *testing.T) {
	const ok = "listen: http://127.0.0.1:1\nto: http://127.0.0.1:2\n" // two lines
	var many strings.Builder
	for i := range 1024 {
		many.WriteString(fmt.Sprintf("  - http://a:%d\n", i+1))
	}
	for _, tt := range []struct {
		name, text string
		line       int
		want       string
	}{
		{"nothing", "", 1, "nothing in it"},
		{"only a remark", "# listen: x\n", 1, "nothing in it"},
		{"a list", "- listen\n", 1, `want "key: value" lines`},
		{"a word", "listen\n", 1, `want "key: value" lines`},
		{"two documents", ok + "---\nmax-body: 1KiB\n", 4, "a second document"},
		{"colon in a value", ok + "max-body: 1: 2\n", 3, "mapping value is not allowed"},
		{"tab", ok + "\tmax-body: 1\n", 3, "cannot start any token"},
		{"open bracket", ok + "secret-fields: [a, b\nmax-body: 1\n", 4, "',' or ']' must be specified"},
		{"open quote", ok + "admin: \"http://\n", 3, "could not find end character"},
		{"word among keys", ok + "max-body: 1KiB\nfoo\n", 4, "non-map value is specified"},
		{"list among keys", ok + "- http\n", 3, "non-map value is specified"},
		{"key twice", ok + "max-body: 1KiB\nmax-body: 2KiB\n", 4, `mapping key "max-body" already defined`},
		{"unknown key", ok + "\n# a remark\nmax-boddy: 1KiB\n", 5, "max-boddy: there is no such key"},
		{"underscore", ok + "max_body: 1KiB\n", 3, "max_body: there is no such key"},
		{"dashes", ok + "--max-body: 1KiB\n", 3, "--max-body: there is no such key"},
		{"its own name", ok + "config: other.yaml\n", 3, "config: there is no such key"},
		{"number for a key", ok + "1: 2\n", 3, "1: want a plain key"},
		{"merge", ok + "<<: {a: b}\n", 3, "<<: anchors, aliases, merge keys and tags are not taken"},
		{"anchor", ok + "max-body: &x 1KiB\n", 3, "&: anchors, aliases"},
		{"host without quotes", ok + "routes:\n  - to: http://a:1\n    host: *.example\n", 5, "*: anchors, aliases, merge keys and tags are not taken; what begins so needs quotes"},
		{"lists in lists", ok + "deny: " + strings.Repeat("[", 200_000), 3, "more than 64 lists and mappings in each other"},
		{"mappings in mappings", ok + "\ndeny: " + strings.Repeat("{a: ", 200_000), 4, "more than 64 lists"},
		{"lists of lists", ok + "deny:\n  " + strings.Repeat("- ", 200_000), 4, "more than 64 lists"},
		{"keys in keys", ok + strings.Repeat("? ", 200_000), 3, "more than 64 lists"},
		{"brackets in quotes", ok + "deny:\n  - '" + strings.Repeat("[", 65) + "'\n  - it's [[\n# " + strings.Repeat("[", 65) + "\n", 4, `deny: "[[`},
		{"more than anybody has", ok + strings.Repeat("#\n", 1<<19), 1, "more than 1MiB"},
		{"size", ok + "max-body: 1MB\n", 3, `max-body: invalid value "1MB": want 1 to 1048576GiB, or off`},
		{"no unit", ok + "timeout: 10\n", 3, `timeout: invalid value "10": no unit, such as s or ms`},
		{"out of range", ok + "conns: 65\n", 3, `conns: invalid value "65": want 1 to 64`},
		{"choice", ok + "compress: lz4\n", 3, `compress: invalid value "lz4": want zstd, snappy, flate, none or auto`},
		{"bool", ok + "get-only: yes\n", 3, `get-only: invalid value "yes": want true or false`},
		{"no value", ok + "get-only:\n", 3, "get-only: empty"},
		{"null", ok + "max-body: null\n", 3, "max-body: empty"},
		{"list for one", ok + "max-body: [1KiB, 2KiB]\n", 3, "max-body: want one value"},
		{"mapping for one", ok + "max-body:\n  size: 1KiB\n", 3, "max-body: want one value"},
		{"mapping in a list", ok + "deny:\n  - 10.0.0.0/8\n  - a: b\n", 3, "deny: want a value or a list of values"},
		{"empty list", ok + "deny: []\n", 3, "deny: empty"},
		{"third of a list", ok + "deny:\n  - 10.0.0.0/8\n  - 10.1.0.0/16\n  - 10.2.0.0/8\n", 6, `deny: "10.2.0.0/8" is no address`},
		{"alias", ok + "max-body: *x\n", 3, "*: anchors, aliases"},
		{"tag", ok + "max-body: !!str 1KiB\n", 3, "!!str: anchors, aliases"},
		{"listener", "to: http://127.0.0.1:2\nlisten:\n  - http://127.0.0.1:1\n  - ftp://127.0.0.1:2\n", 4, `listen: "ftp://127.0.0.1:2" does not begin with http://`},
		{"same listener", "to: http://127.0.0.1:2\nlisten:\n  - http://127.0.0.1:1\n\n  - h2tpc://127.0.0.1:1\n", 5, "are the same address"},
		{"destination", "listen: http://127.0.0.1:1\nto: http://127.0.0.1:2/path\n", 2, "has a path"},
		{"weight", "listen: http://127.0.0.1:1\nto: http://127.0.0.1:2;weight=0\n", 2, "weight"},
		{"no listener", "to: http://127.0.0.1:2\n", 1, "listen: is missing"},
		{"nowhere to", "listen: http://127.0.0.1:1\n", 1, "to: is missing"},
		{"no effect", ok + "cert: x.pem\n", 3, "cert: has no effect: no listen URL has scheme https or h2tp"},
		{"no effect of one", ok + "policy: latency\n", 3, "policy: has no effect: there is one to URL"},
		{"same destination", "listen: http://127.0.0.1:1\nto:\n  - http://a:1;weight=2\n  - http://a:1\n", 4, `to: "http://a:1" is there twice`},
		{"no certificate", "to: http://a:1\nlisten: https://127.0.0.1:1\n", 2, "listen: cert is missing, or acme-names"},
		{"no key", "to: http://a:1\nlisten: https://127.0.0.1:1\ncert: x\n", 3, "cert: key is missing: cert has no use without it"},
		{"no such file", "to: http://a:1\nlisten: https://127.0.0.1:1\ncert: /no/such\nkey: /no/such\n", 3, "cert: cert and key: "},
		{"contradiction", "listen: http://127.0.0.1:1\nto: https://a:1\nca: x\ninsecure-skip-verify: true\n", 4, "insecure-skip-verify: insecure-skip-verify and ca contradict each other"},
		{"hash", ok[:27] + "to: [http://a:1, http://b:1]\nhash-by: target\n", 3, "hash-by: policy hash and hash-by need each other"},
		{"hash by what", ok[:27] + "to: [http://a:1, http://b:1]\npolicy: hash\nhash-by: foo\n", 4, `hash-by: invalid value "foo": want field:NAME, cookie:NAME or target`},
		{"public admin", ok + "admin: http://10.0.0.1:1\n", 3, "admin: \"http://10.0.0.1:1\" is not a loopback address"},
		{"token", "to: h2tpc://a:1\nlisten: http://127.0.0.1:1\ntoken-file: /no/such\n", 3, "token-file: /no/such: no such file"},
		{"routes of another kind", ok + "routes: 1\n", 3, "routes: want a list of routes"},
		{"routes by name", ok + "routes:\n  a: {to: http://a:1}\n", 3, "routes: want a list of routes"},
		{"no routes", ok + "routes: []\n", 3, "routes: want a list of routes"},
		{"route of another kind", ok + "routes:\n  - http://a:1\n", 4, `want "key: value" lines`},
		{"routes twice", ok + "routes: [{to: http://a:1, path: /a}]\nroutes: [{to: http://a:1}]\n", 4, "already defined"},
		{"route to nowhere", ok + "routes:\n  - path: /a\n    to: http://a:1\n  - path: /b\n", 6, "routes: to is missing"},
		{"key of a route", ok + "routes:\n  - path: /a\n    to: http://a:1\n    target: x\n", 6, "target: there is no such key"},
		{"key of all routes", ok + "routes:\n  - path: /a\n    to: http://a:1\n    max-body: 1KiB\n", 6, "max-body: is not a route's"},
		{"value of a route", ok + "routes:\n  - path: /a\n    to: http://a:1\n    timeout: 1\n", 6, `timeout: invalid value "1": no unit`},
		{"destination of a route", ok + "routes:\n  - path: /a\n    to:\n      - http://a:1\n      - foo://a:1\n", 7, `to: "foo://a:1" does not begin with`},
		{"path of a route", ok + "routes:\n  - path: a\n    to: http://a:1\n", 4, `path: invalid value "a": want a path that begins with a slash`},
		{"query of a route", ok + "routes:\n  - path: /a?b\n    to: http://a:1\n", 4, "want a path without query"},
		{"host with a port", ok + "routes:\n  - to: http://a:1\n    host: a:80\n", 5, `host: invalid value "a:80": want a name or an address without port`},
		{"host with a star", ok + "routes:\n  - to: http://a:1\n    host: a.*.b\n", 5, "host: invalid value"},
		{"name with a space", ok + "routes:\n  - to: http://a:1\n    path: /a\n    name: a b\n", 6, "name: invalid value"},
		{"same name", ok + "routes:\n  - {to: http://a:1, path: /a, name: x}\n  - {to: http://a:1, path: /b, name: x}\n", 5, "another has the name x"},
		{"same place", ok + "routes:\n  - {to: http://a:1, host: A, path: /a}\n  - {to: http://a:1, host: a, path: /a/}\n", 5, "A/a has the same host and path"},
		{"same host with a dot", ok + "routes:\n  - {to: http://a:1, host: a.example}\n  - {to: http://a:1, host: A.example.}\n", 5, "a.example has the same host and path"},
		{"same address in brackets", ok + "routes:\n  - {to: http://a:1, host: '::1'}\n\n  - {to: http://a:1, host: '[::1]'}\n", 6, "::1 has the same host and path"},
		{"same destination in other words", "listen: http://127.0.0.1:1\nto:\n  - http://a\n  - http://b\n  - http://A:80/\n", 5, `to: "http://A:80/" is there already, as "http://a"`},
		{"same destination of a route", ok + "routes:\n  - path: /a\n    to: [http://a, http://a:80]\n", 5, `to: "http://a:80" is there already`},
		{"too many destinations", "listen: http://127.0.0.1:1\nto:\n" + many.String() + "  - http://b\n", 1027, `to: "http://b" is one too many; want 1024 destinations at most`},
		{"address without brackets", "listen: http://127.0.0.1:1\nto: h2tp://2001:db8::5:8443\n", 2, `to: "h2tp://2001:db8::5:8443" has an address of IPv6 without brackets`},
		{"place of to", ok + "routes:\n  - {to: http://a:1}\n", 4, "has neither host nor path, and neither has to"},
		{"route's effect", ok + "routes:\n  - path: /a\n    to: http://a:1\n    policy: latency\n", 6, "policy: has no effect: there is one to URL"},
		{"route's hash", ok + "routes:\n  - path: /a\n    to: [http://a:1, http://b:1]\n    policy: hash\n", 6, "policy: policy hash and hash-by need each other"},
		{"not UTF-8", ok + "admin: \xff\n", 3, "admin: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeConfig(t, tt.text)
			code, _, errs := checkWith(t, "--config", file)
			at := fmt.Sprintf("h2tp: %s:%d: ", file, tt.line)
			if code != 2 || !strings.HasPrefix(errs, at) || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1 {
				t.Errorf("code %d, %s\nwant 2 and %s%s", code, errs, at, tt.want)
			}
		})
	}
}

func TestAByteOrderMarkIsNoPartOfAFile(t *testing.T) {
	if code, _, errs := checkWith(t, "--config", writeConfig(t, "\ufefflisten: http://127.0.0.1:1\nto: http://127.0.0.1:2\n")); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
}

// As many as may be: lists that are long, not deep.
func TestALongFileIsTaken(t *testing.T) {
	var text strings.Builder
	text.WriteString("listen: http://127.0.0.1:1\nto: http://127.0.0.1:2\ndeny:\n" + strings.Repeat("  - 10.0.0.1\n", 1000) + "routes:\n")
	for i := range 1000 {
		text.WriteString(fmt.Sprintf("  - {path: /%d, to: 'http://a:1,http://b:1'}\n", i))
	}
	if code, _, errs := checkWith(t, "--config", writeConfig(t, text.String())); code != 0 {
		t.Errorf("code %d, %s", code, errs)
	}
}

func TestRoutesTakeWhatAllHaveUnlessTheySayOtherwise(t *testing.T) {
	file := writeConfig(t, `
routes:
  - host: A.example
    path: /api
    to: [http://a:1, http://b:1]
    policy: latency
    timeout: 5s
  - {host: "*.example", to: h2tpc://c:1, name: rest}
listen: http://127.0.0.1:1
to: [http://d:1, http://e:1]
timeout: 10s
policy: hash
hash-by: target
`)
	code, lines, errs := checkWith(t, "--config", file)
	if code != 0 {
		t.Fatal(errs)
	}
	for _, want := range []string{
		"routes.A.example/api.host = A.example", "routes.A.example/api.path = /api", "routes.A.example/api.to = http://a:1,http://b:1",
		"routes.A.example/api.timeout = 5s", "routes.rest.to = h2tpc://c:1", "timeout = 10s", "conns = 2",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q", want)
		}
	}
	t.Setenv("H2TP_CONFIG", file)
	o, _, err := parseOptions(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.ways) != 3 || o.ways[0].Name != "default" {
		t.Fatalf("got %+v", o.ways)
	}
	for i, want := range []struct {
		timeout        time.Duration
		policy, hashBy string
	}{{10 * time.Second, "hash", "target"}, {5 * time.Second, "latency", ""}, {10 * time.Second, "hash", "target"}} {
		if w := o.ways[i]; w.Limits.Timeout != want.timeout || w.Balance.Policy != want.policy || w.Balance.HashBy != want.hashBy {
			t.Errorf("%s: got %v, %s by %q; want %+v", w.Name, w.Limits.Timeout, w.Balance.Policy, w.Balance.HashBy, want)
		}
	}
}

// A file may be read while it is being written: whatever it has, nothing panics.
func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"", "a", "a: b", "a: [b, c]\nd: {e: f}\n", "routes:\n  - to: a\n    host: b\n", "a: |\n b\n", "a: &x 1\nb: *x\n", "? a\n: b\n", "---\na: b\n...\n", "a: 'b''c'\n", "\ufeffa: [[{b: - - c}]]", "- - ? - a"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseFile("x", b)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "x:") {
				t.Errorf("%q: %v; want x:LINE", b, err)
			}
			return
		}
		if err := applyNew(s); err != nil && !strings.HasPrefix(err.Error(), "x:") {
			t.Errorf("%q: %v; want x:LINE", b, err)
		}
	})
}

func applyNew(s section) error {
	o := new(options)
	return o.apply(s, o.settings())
}
