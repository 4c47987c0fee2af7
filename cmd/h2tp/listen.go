package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"
	"time"
)

// open makes the socket of a --listen URL, or takes the one inherited for it.
func (o *options) open(ctx context.Context, e endpoint) (net.Listener, error) {
	if ln := o.inheritedFor(e); ln != nil {
		return ln, nil
	}
	if e.scheme == "unix" {
		return listenUnix(e.addr, o.unixMode)
	}
	var lc net.ListenConfig
	if o.reusePort {
		lc.Control = reusePort
	}
	return lc.Listen(ctx, networkOf(e.host), e.addr)
}

// networkOf keeps an address to its family: 0.0.0.0 is every IPv4 address and [::] every IPv6 one; only an empty
// host is both.
func networkOf(host string) string {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil:
		return "tcp"
	case addr.Is4():
		return "tcp4"
	}
	return "tcp6"
}

// unixListener removes its file when it is closed, unless another process has put its own there.
type unixListener struct {
	*net.UnixListener
	path string
	made fs.FileInfo
}

// listenUnix makes a unix socket. One that nobody listens on any more is replaced.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	err = os.Chmod(path, mode) // until now only its owner may connect, by the usual umask
	made, statErr := os.Lstat(path)
	if err = errors.Join(err, statErr); err != nil {
		ln.Close()
		os.Remove(path)
		return nil, err
	}
	return &unixListener{ln, path, made}, nil
}

func removeStale(path string) error {
	isThere, err := isSocket(path)
	if err != nil || !isThere {
		return err
	}
	nc, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		nc.Close()
		return fmt.Errorf("another process listens on %s", path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// isSocket reports whether a unix socket is there; what else is there is an error.
func isSocket(path string) (isThere bool, err error) {
	fi, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil:
		return false, err
	case fi.Mode().Type() != fs.ModeSocket:
		return false, fmt.Errorf("%s is there and is no socket", path)
	}
	return true, nil
}

// checkSockets finds something else in the place of a unix socket.
func (o *options) checkSockets() error {
	for _, e := range append(slices.Clone(o.listeners), o.admin) {
		if e.scheme != "unix" {
			continue
		}
		name := "listen"
		if e.url == o.adminURL {
			name = "admin"
		}
		if _, err := isSocket(e.addr); err != nil {
			return about(name, fmt.Errorf("flag --%s: %s: %w", name, e.url, err))
		}
	}
	return nil
}

func (l *unixListener) Close() error {
	err := l.UnixListener.Close()
	if now, statErr := os.Lstat(l.path); statErr == nil && os.SameFile(now, l.made) {
		os.Remove(l.path)
	}
	return err
}
