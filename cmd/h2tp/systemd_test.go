//go:build unix

package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/h2tp/h2tp/proxy"
)

// notifySocket is what a service manager hears.
type notifySocket struct{ *net.UnixConn }

func newNotifySocket(t *testing.T) (notifySocket, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return notifySocket{c}, path
}

// next is the next message but pings of the watchdog.
func (n notifySocket) next(t *testing.T) string {
	t.Helper()
	for {
		if s := n.read(t, 30*time.Second); s != "WATCHDOG=1" {
			return s
		}
	}
}

// read is the next message, or "" when none comes in time.
func (n notifySocket) read(t *testing.T, within time.Duration) string {
	t.Helper()
	b := make([]byte, 4096)
	n.SetReadDeadline(time.Now().Add(within))
	k, err := n.Read(b)
	if err != nil && !os.IsTimeout(err) {
		t.Fatal(err)
	}
	return string(b[:k])
}

// managed starts h2tp as a service manager does: with sockets that it listens on, under names.
func managed(t *testing.T, env []string, sockets []*os.File, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	out := newOutput()
	// LISTEN_PID is the shell's, which becomes h2tp.
	cmd := exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", h2tp(t)}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	cmd.ExtraFiles = sockets
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(out)
		}
	})
	return cmd, out
}

func listenFile(t *testing.T, network, addr string) (string, *os.File) {
	t.Helper()
	ln, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	if u, ok := ln.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false)
	}
	f, err := ln.(interface{ File() (*os.File, error) }).File()
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	t.Cleanup(func() { f.Close() })
	return ln.Addr().String(), f
}

// The life of a unit of Type=notify: ready once it answers, pings while it lives and none while it hangs, reloading
// and ready again, stopping, and an end with code 0. Its sockets are the manager's and outlive it.
func TestServiceManagerIsToldOfTheProcess(t *testing.T) {
	upstream := startUpstream(t, hello)
	n, path := newNotifySocket(t)
	addr, tcp := listenFile(t, "tcp", "127.0.0.1:0")
	socket, unix := listenFile(t, "unix", filepath.Join(t.TempDir(), "front"))
	cmd, _ := managed(t, []string{"NOTIFY_SOCKET=" + path, "WATCHDOG_USEC=400000", "LISTEN_FDS=2", "LISTEN_FDNAMES=http:socket"}, []*os.File{tcp, unix},
		"serve", "--listen", "http://"+addr+",unix://"+socket, "--to", upstream)
	if got := n.next(t); !strings.HasPrefix(got, "READY=1\nSTATUS=serving "+upstream) {
		t.Fatalf("got %q; want READY=1", got)
	}
	wantHello(t, "http://"+addr)
	nc, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()

	for range 3 {
		if got := n.read(t, 30*time.Second); got != "WATCHDOG=1" {
			t.Fatalf("got %q; want a ping", got)
		}
	}
	cmd.Process.Signal(syscall.SIGSTOP)
	for n.read(t, time.Second) != "" { // pings sent before it stood still
	}
	cmd.Process.Signal(syscall.SIGCONT)
	if got := n.read(t, 30*time.Second); got != "WATCHDOG=1" {
		t.Fatalf("got %q; want a ping of the process that lives again", got)
	}

	cmd.Process.Signal(syscall.SIGHUP)
	if got := n.next(t); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
		t.Errorf("got %q; want RELOADING=1", got)
	}
	if got := n.next(t); got != "READY=1" {
		t.Errorf("got %q; want READY=1", got)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if got := n.next(t); !strings.HasPrefix(got, "STOPPING=1\n") {
		t.Errorf("got %q; want STOPPING=1", got)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(socket); err != nil {
		t.Errorf("the manager's socket: %v", err)
	}
	waits, err := net.Dial("tcp", addr) // for the next process: nobody is refused between the two
	if err != nil {
		t.Fatalf("between two processes: %v", err)
	}
	waits.Close()
}

func TestSocketOfTheManagerThatNoFlagNamesIsAMistake(t *testing.T) {
	_, f := listenFile(t, "tcp", "127.0.0.1:0")
	cmd, out := managed(t, []string{"LISTEN_FDS=1"}, []*os.File{f}, "serve", "--listen", "http://127.0.0.1:0", "--to", "http://127.0.0.1:1")
	if cmd.Wait(); cmd.ProcessState.ExitCode() != exitFailed || !strings.Contains(out.String(), "is no flag's") {
		t.Errorf("code %d, %s", cmd.ProcessState.ExitCode(), out)
	}
}

func TestInheritedSocketsAreFoundByTheirAddress(t *testing.T) {
	tcp := func(s string) net.Addr { a, _ := net.ResolveTCPAddr("tcp", s); return a }
	for _, c := range []struct {
		url  string
		addr net.Addr
		want bool
	}{
		{"http://:80", tcp("[::]:80"), true},
		{"http://:80", tcp("0.0.0.0:80"), true},
		{"http://:80", tcp("127.0.0.1:80"), false},
		{"http://0.0.0.0:80", tcp("0.0.0.0:80"), true},
		{"http://0.0.0.0:80", tcp("[::]:80"), false},
		{"h2tp://[::1]:443", tcp("[::1]:443"), true},
		{"h2tp://[::1]:443", tcp("[::1]:444"), false},
		{"http://127.0.0.1:80", &net.UnixAddr{Name: "/run/s", Net: "unix"}, false},
		{"unix:///run/s", &net.UnixAddr{Name: "/run/s", Net: "unix"}, true},
		{"unix:///run/s", tcp("127.0.0.1:80"), false},
	} {
		e, err := parseEndpoint(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := e.isAt(c.addr); got != c.want {
			t.Errorf("%s at %s: got %v; want %v", c.url, c.addr, got, c.want)
		}
	}
}

// stuckEnd is an end whose loops do not come through.
type stuckEnd struct{ since time.Duration }

func (s stuckEnd) Stats() proxy.Stats { return proxy.Stats{SinceSweep: s.since} }

func TestWatchdogHearsNothingOfAStuckEnd(t *testing.T) {
	n, path := newNotifySocket(t)
	t.Setenv("NOTIFY_SOCKET", path)
	var log bytes.Buffer
	s := &server{log: newLogger(&log, "text", slog.LevelError)}
	s.manager.log = s.log
	s.admin.ends = []namedEnd{{counted: stuckEnd{time.Minute}}, {counted: stuckEnd{}}}
	loop := func() {
		ctx, stop := context.WithCancel(t.Context())
		stop()
		s.watchdogLoop(ctx, time.Second)
	}
	if loop(); log.Len() == 0 {
		t.Error("a stuck end is not logged")
	}
	s.admin.note(true, true) // draining: closed already
	if loop(); n.read(t, 30*time.Second) != "WATCHDOG=1" {
		t.Error("no ping while draining")
	}
	if got := n.read(t, time.Millisecond); got != "" {
		t.Errorf("got %q besides", got)
	}
}
