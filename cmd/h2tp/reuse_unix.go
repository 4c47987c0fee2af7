//go:build unix

package main

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// reusePort lets other processes listen on the same address and port.
func reusePort(_, _ string, rc syscall.RawConn) error {
	var err error
	if controlErr := rc.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}); controlErr != nil {
		return controlErr
	}
	return err
}
