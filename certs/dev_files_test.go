package certs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFromNothingToMutualTLS(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tls")
	if err := WriteDev(dir, "back.example"); err != nil {
		t.Fatal(err)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	server, err := NewServer(ServerConfig{
		Pairs: []Pair{{file(DevBackFile), file(DevBackKeyFile)}}, ClientCAFile: file(DevCAFile), TicketKeyFile: file(DevTicketFile),
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"back.example", "localhost", "127.0.0.1"} {
		client, err := NewClient(ClientConfig{CAFile: file(DevCAFile), CertFile: file(DevFrontFile), KeyFile: file(DevFrontKeyFile), ServerName: name}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := handshake(t, server.Config(), client.Config()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]os.FileMode{
		".": 0o700, DevCAFile: 0o644, DevBackFile: 0o644, DevBackKeyFile: 0o600, DevFrontKeyFile: 0o600, DevTicketFile: 0o600,
	} {
		if fi, err := os.Stat(file(name)); err != nil || fi.Mode().Perm() != want {
			t.Errorf("%s: got mode %v, %v; want %o", name, fi.Mode().Perm(), err, want)
		}
	}
}

func TestWriteDevReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, DevFrontFile)
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteDev(dir); err == nil || !strings.Contains(err.Error(), mine) {
		t.Errorf("got %v; want an error that names the file", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("got %d files; want only what was there", len(left))
	}
}

func TestInspectSaysWhatIsWrong(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	now := time.Now()
	certFile, keyFile := writePair(t, issue(t, ca, "a.example", "10.0.0.1"))
	_, otherKey := writePair(t, issue(t, ca, "a.example"))
	oldFile, _ := writePair(t, issueUntil(t, ca, now.Add(-time.Minute), "a.example"))
	soonFile, _ := writePair(t, issueUntil(t, ca, now.Add(time.Minute), "a.example"))
	concat := func(files ...string) string {
		var all []byte
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return write(t, "all.pem", all)
	}
	open := write(t, "open.pem", nil)
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(open, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		want       []string // in the Wrong of each finding, in order; empty is none
	}{
		{"good", certFile, []string{""}},
		{"good with its authority and key", concat(certFile, write(t, "ca", ca.PEM()), keyFile), []string{"", "", ""}},
		{"expired", oldFile, []string{"expired"}},
		{"expires soon", soonFile, []string{"expires in"}},
		{"another authority behind it", concat(certFile, write(t, "ca", other.PEM())), []string{"did not sign it", ""}},
		{"another's key", concat(certFile, otherKey), []string{"", "not the key"}},
		{"a key that all can read", open, []string{"everybody"}},
		{"no certificate", write(t, "x", []byte("-----BEGIN X-----\nAAAA\n-----END X-----\n")), []string{"neither"}},
		{"broken", write(t, "x", []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")), []string{"malformed"}},
	} {
		found, err := Inspect(c.file, now)
		if err != nil || len(found) != len(c.want) {
			t.Errorf("%s: got %d findings, %v; want %d", c.name, len(found), err, len(c.want))
			continue
		}
		for i, f := range found {
			if got := strings.Join(f.Wrong, "; "); c.want[i] == "" && got != "" || !strings.Contains(got, c.want[i]) {
				t.Errorf("%s: finding %d: got %q; want %q", c.name, i, got, c.want[i])
			}
		}
	}
	if _, err := Inspect(write(t, "x", []byte("garbage")), now); err == nil {
		t.Error("garbage: got no error")
	}
}
