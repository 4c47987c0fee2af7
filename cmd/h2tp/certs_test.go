package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// initCerts makes certificates and returns the two commands that are printed, as a shell takes them apart.
func initCerts(t *testing.T, dir string, names ...string) (commands [][]string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), append([]string{"certs", "init", dir}, names...), &stdout, &stderr); code != 0 {
		t.Fatalf("code %d: %s", code, &stderr)
	}
	for line := range strings.Lines(stdout.String()) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "h2tp serve ") {
			words, err := exec.CommandContext(t.Context(), "sh", "-c", "printf '%s\\0' "+line).Output()
			if err != nil {
				t.Fatal(err)
			}
			commands = append(commands, strings.Split(strings.TrimSuffix(string(words), "\x00"), "\x00"))
		}
	}
	if len(commands) != 2 {
		t.Fatalf("got %q; want two commands:\n%s", commands, &stdout)
	}
	return commands
}

func TestCertsInitPrintsTheTwoCommandsThatUseItsFiles(t *testing.T) {
	for host, names := range map[string][]string{
		"localhost": nil, "back.example": {"back.example", "*.back.example"}, "10.0.0.1": {"10.0.0.1", "back.example"},
		"[2001:db8::5]": {"2001:db8::5"}, "a.example": {"*.example", "a.example"},
	} {
		dir := filepath.Join(t.TempDir(), "it's tls & more")
		for _, args := range initCerts(t, dir, names...) {
			var out bytes.Buffer
			if code := run(t.Context(), append([]string{"check"}, args[2:]...), &out, &out); code != 0 {
				t.Errorf("%q: code %d: %s", args, code, &out)
			}
			if to := "h2tp://" + host + ":8443"; strings.HasPrefix(args[3], "http://") && args[5] != to {
				t.Errorf("%q: got %q; want %q", names, args[5], to)
			}
		}
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), []string{"certs", "init", dir}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "is there already") {
			t.Errorf("again: got code %d, %q; want it refused", code, &stderr)
		}
	}
}

// What the README has its readers run is what is printed.
func TestTheCommandsOfCertsInitAreTheReadmes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	for _, args := range initCerts(t, "tls") {
		if line := "    go run ./cmd/" + strings.Join(args, " ") + "\n"; !strings.Contains(string(readme), line) {
			t.Errorf("README.md lacks %q", line)
		}
	}
}

func TestCertsInitTakesNamesAndNothingElse(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	for _, args := range [][]string{{""}, {"--x"}, {dir, ""}, {dir, "a b"}, {dir, "a.example", "--x"}, {dir, "[::1]"}, {dir, "a:80"}, {dir, "*"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"certs", "init"}, args...), &stdout, &stderr); code != exitUsage || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%q: got code %d, %q; want %d and one line", args, code, &stderr, exitUsage)
		}
	}
	for _, args := range [][]string{{"--help"}, {dir, "--help"}, {dir, "a.example", "-h"}} {
		var stdout, stderr bytes.Buffer
		if code := run(t.Context(), append([]string{"certs", "init"}, args...), &stdout, &stderr); code != 0 || stdout.String() != certsUsage {
			t.Errorf("%q: got code %d, %q; want the help", args, code, &stdout)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("something was made: %v", err)
	}
}

func TestCertsInspectSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	var stdout, stderr bytes.Buffer
	run(t.Context(), []string{"certs", "init", dir, "back.example"}, &stdout, &stderr)
	stdout.Reset()
	if code := run(t.Context(), []string{"certs", "inspect", filepath.Join(dir, "back.pem"), filepath.Join(dir, "back-key.pem")}, &stdout, &stderr); code != 0 {
		t.Fatalf("code %d: %s%s", code, &stdout, &stderr)
	}
	for _, want := range []string{"back.example, localhost, 127.0.0.1, ::1", "h2tp development CA", "ECDSA P-256", "back-key.pem: key"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("got %q; want %q in it", stdout.String(), want)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "back-key.pem"), 0o644); err != nil {
		t.Fatal(err)
	}
	stdout.Reset()
	if code := run(t.Context(), []string{"certs", "inspect", filepath.Join(dir, "back-key.pem")}, &stdout, &stderr); code != exitFailed || !strings.Contains(stdout.String(), "WRONG") {
		t.Errorf("a key that all can read: got code %d, %q", code, &stdout)
	}
	for _, args := range [][]string{{"certs", "init"}, {"certs", "inspect"}, {"certs", "x"}} {
		if code := run(t.Context(), args, &stdout, &stderr); code != exitUsage {
			t.Errorf("%q: got code %d; want %d", args, code, exitUsage)
		}
	}
}
