//go:build linux && !race && !386 && !s390x && !h2tp_portable

package rawconn

import (
	"net"
	"syscall"
	"unsafe"
)

// 386 and s390x, which reach sockets by another system call, take sys_plain.go.

// MSG_DONTWAIT, because the flag O_NONBLOCK is shared with every duplicate of the descriptor and
// a raw call that blocks would hold a P; MSG_NOSIGNAL saves the handling of SIGPIPE.

func recv(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func peek(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_PEEK|syscall.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

func send(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)),
		syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// iovec and msghdr are the kernel's.
type iovec struct {
	base *byte
	n    uintptr
}

type msghdr struct {
	name    uintptr
	nameLen uint32
	iov     *iovec
	iovs    uintptr
	control uintptr
	len     uintptr
	flags   int32
}

// vector is what one call writes from several places.
type vector struct {
	iov [16]iovec
	hdr msghdr
}

// send writes the first of p, which are at least one, up to maxIO bytes.
func (v *vector) send(fd uintptr, p net.Buffers) (int, syscall.Errno) {
	k, left := 0, maxIO
	for ; k < min(len(p), len(v.iov)) && left > 0; k++ {
		n := min(len(p[k]), left)
		v.iov[k] = iovec{unsafe.SliceData(p[k]), uintptr(n)}
		left -= n
	}
	v.hdr = msghdr{iov: &v.iov[0], iovs: uintptr(k)}
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&v.hdr)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0, 0)
	v.hdr = msghdr{}
	clear(v.iov[:k])
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
