package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sample is a value that a setting takes, other than its default.
func sample(s *setting) string {
	switch {
	case s.arg == "":
		return "true"
	case s.name == "listen":
		return "http://127.0.0.1:1"
	case s.name == "to":
		return "http://a:1,http://b:2"
	}
	for _, v := range []string{"3s", "3ms", "2KiB", "3", "5MiB", "10.0.0.0/8", "snappy", "better", "hash", "continue", "json", "common", "0600", "0.5", "127.0.0.1:5", "/x", "warn", "target"} {
		if v != s.def && s.set(v) == nil {
			return v
		}
	}
	return ""
}

func TestEverySettingIsAVariableAndAKey(t *testing.T) {
	for i, s := range new(options).settings() {
		v := sample(s)
		if v == "" {
			t.Errorf("--%s takes no sample", s.name)
			continue
		}
		find := func(list []*setting) *setting { return list[i] }
		want := new(options).settings()
		if err := find(want).Set(v); err != nil {
			t.Fatalf("--%s %s: %v", s.name, v, err)
		}
		env := new(options).settings()
		if err := readEnv(env, []string{envName(s.name) + "=" + v}); err != nil {
			t.Errorf("%s: %v", envName(s.name), err)
		}
		if got := find(env).get(); got != find(want).get() || !find(env).isSet() {
			t.Errorf("%s=%s comes to %q; want %q", envName(s.name), v, got, find(want).get())
		}
		if s.name == configSetting {
			continue
		}
		file := new(options).settings()
		sec, err := parseFile("x", []byte(s.name+": "+v+"\n"))
		if err == nil {
			err = new(options).apply(sec, file)
		}
		if err != nil {
			t.Errorf("%s in a file: %v", s.name, err)
		}
		if got := find(file).get(); got != find(want).get() || !find(file).isSet() {
			t.Errorf("%s: %s in a file comes to %q; want %q", s.name, v, got, find(want).get())
		}
	}
}

// checkWith runs h2tp check and returns its lines, or its error.
func checkWith(t *testing.T, args ...string) (code int, stdout []string, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), append([]string{"check"}, args...), &out, &errs)
	return code, strings.Split(strings.TrimSpace(out.String()), "\n"), errs.String()
}

func TestFlagsWinOverVariablesAndThoseOverTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "h2tp.yaml")
	text := "listen: http://127.0.0.1:1\nto: [http://file:1, http://file:2]\nmax-body: 1KiB\ntimeout: 1s\nsecret-fields: X-File\nget-only: true\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("H2TP_CONFIG", file)
	t.Setenv("H2TP_TO", "h2tpc://env:1")
	t.Setenv("H2TP_MAX_BODY", "2KiB")
	t.Setenv("H2TP_SECRET_FIELDS", "X-Env,X-Env2")
	t.Setenv("H2TP_GET_ONLY", "") // as if it were not there
	code, lines, errs := checkWith(t, "--max-body", "3KiB")
	if code != 0 {
		t.Fatal(code, errs)
	}
	for _, want := range []string{"listen = http://127.0.0.1:1", "to = h2tpc://env:1", "max-body = 3KiB", "timeout = 1s", "secret-fields = X-Env,X-Env2", "get-only = true"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q among %q", want, lines)
		}
	}
}

func TestVariablesThatAreWrong(t *testing.T) {
	for _, tt := range []struct{ name, value, want string }{
		{"H2TP_MAX_BODY", "much", `variable H2TP_MAX_BODY: invalid value "much": want 1 to 1048576GiB, or off`},
		{"H2TP_MAX_BODDY", "1", "variable H2TP_MAX_BODDY: there is no such setting"},
		{"H2TP_POLICY", "hash", "variable H2TP_POLICY: has no effect: there is one to URL"},
		{"H2TP_KEY", "x", "variable H2TP_KEY: has no effect: no listen URL has scheme https or h2tp"},
		{"H2TP_GET_ONLY", "1x", `variable H2TP_GET_ONLY: invalid value "1x": want true or false`},
		{"H2TP_ADMIN", "http://10.0.0.1:1", `variable H2TP_ADMIN: "http://10.0.0.1:1" is not a loopback address`},
		{"H2TP_CONFIG", "/no/such", "/no/such: no such file or directory"},
		{"H2TP_SERVICE_HOST", "10.0.0.1", ""}, // what Kubernetes sets for a service named h2tp
		{"H2TP_PORT", "tcp://10.0.0.1:80", ""},
		{"H2TP_PORT_80_TCP_ADDR", "10.0.0.1", ""},
		{"H2TP_BACK_SERVICE_PORT_HTTP", "80", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(tt.name, tt.value)
			code, _, errs := checkWith(t, "--listen", "http://:1", "--to", "http://a:1")
			switch {
			case tt.want == "" && code != 0:
				t.Errorf("code %d, %s; want 0", code, errs)
			case tt.want != "" && (code != 2 || !strings.Contains(errs, tt.want) || strings.Count(errs, "\n") != 1):
				t.Errorf("code %d, %s; want 2 and %s", code, errs, tt.want)
			}
		})
	}
}
