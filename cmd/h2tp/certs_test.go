package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCertsInitPrintsTheTwoCommandsThatUseItsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	var stdout, stderr bytes.Buffer
	if code := run(t.Context(), []string{"certs", "init", dir, "back.example"}, &stdout, &stderr); code != 0 {
		t.Fatalf("code %d: %s", code, &stderr)
	}
	n := 0
	for line := range strings.Lines(stdout.String()) {
		args, ok := strings.CutPrefix(strings.TrimSpace(line), "h2tp serve ")
		if !ok {
			continue
		}
		n++
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"check"}, strings.Fields(args)...), &out, &out); code != 0 {
			t.Errorf("%s: code %d: %s", line, code, &out)
		}
	}
	if n != 2 {
		t.Errorf("got %d commands; want 2:\n%s", n, &stdout)
	}
	stderr.Reset()
	if code := run(t.Context(), []string{"certs", "init", dir}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), "is there already") {
		t.Errorf("again: got code %d, %q; want it refused", code, &stderr)
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
