//go:build unix && (!linux || race || 386 || s390x) && !h2tp_portable

package rawconn

import (
	"net"
	"syscall"
)

func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return max(n, 0), errnoOf(err)
}

func peek(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, err := syscall.Recvfrom(int(fd), p, syscall.MSG_PEEK)
	return max(n, 0), errnoOf(err)
}

func send(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	return max(n, 0), errnoOf(err)
}

func errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	errno, ok := err.(syscall.Errno)
	if !ok {
		return syscall.EINVAL // not seen: package syscall's own checks of arguments
	}
	return errno
}

// vector is what one call writes from several places; here they take a call each.
type vector struct{}

func (*vector) send(fd uintptr, p net.Buffers) (int, syscall.Errno) {
	if len(p[0]) == 0 {
		return 0, 0
	}
	return send(fd, p[0][:min(len(p[0]), maxIO)])
}
