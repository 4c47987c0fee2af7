package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAUnixSocketIsMadeWithItsModeAndRemovedAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := listenUnix(path, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o640 {
		t.Errorf("got mode %v, %v; want 0640", fi.Mode().Perm(), err)
	}
	if _, err := listenUnix(path, 0o640); err == nil || !strings.Contains(err.Error(), "another process listens") {
		t.Errorf("a live one: got %v; want it refused", err)
	}
	ln.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after Close: got %v; want it gone", err)
	}
}

func TestAStaleUnixSocketIsReplacedAndNothingElseIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	first, err := listenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil { // as another process that takes over
		t.Fatal(err)
	}
	second, err := listenUnix(path, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	first.Close()
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the end of one process removed another's socket: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenUnix(file, 0o600); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("a file: got %v; want it refused", err)
	}
}

func TestTwoProcessesShareAPortWhenAsked(t *testing.T) {
	o := &options{reusePort: true}
	first, err := o.open(t.Context(), endpoint{scheme: "http", host: "127.0.0.1", addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	e := endpoint{scheme: "http", host: "127.0.0.1", addr: first.Addr().String()}
	second, err := o.open(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := new(options).open(t.Context(), e); err == nil {
		t.Error("without --reuse-port the port is shared too")
	}
}

func TestAnAddressKeepsToItsFamily(t *testing.T) {
	for host, want := range map[string]string{"": "tcp", "localhost": "tcp", "0.0.0.0": "tcp4", "127.0.0.1": "tcp4", "::": "tcp6", "::1": "tcp6"} {
		if got := networkOf(host); got != want {
			t.Errorf("%q: got %s; want %s", host, got, want)
		}
	}
}

func TestListenersOfEachFamilyAreReachedByItOnly(t *testing.T) {
	for _, c := range []struct {
		host   string
		v4, v6 bool
	}{{"", true, true}, {"0.0.0.0", true, false}, {"::", false, true}} {
		ln, err := new(options).open(t.Context(), endpoint{scheme: "http", host: c.host, addr: net.JoinHostPort(c.host, "0")})
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		for host, want := range map[string]bool{"127.0.0.1": c.v4, "::1": c.v6} {
			nc, err := net.Dial("tcp", net.JoinHostPort(host, port))
			if err == nil {
				nc.Close()
			}
			if (err == nil) != want {
				t.Errorf("listening on %q, dialling %s: got %v; want it to work: %v", c.host, host, err, want)
			}
		}
	}
}
