//go:build !unix

package main

import (
	"errors"
	"syscall"
)

func reusePort(_, _ string, _ syscall.RawConn) error {
	return errors.New("SO_REUSEPORT: not on this system")
}
