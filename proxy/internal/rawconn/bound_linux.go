//go:build linux && !386 && !s390x

package rawconn

import (
	"encoding/binary"
	"syscall"
	"time"
	"unsafe"
)

// soBufLock is SO_BUF_LOCK, of Linux 5.15; package syscall lacks it.
const soBufLock = 72

// roundTrips asks TCP_INFO for the smoothed and the least round trip, and for how
// many bytes are sent and not acknowledged.
func roundTrips(raw syscall.RawConn) (rtt, least time.Duration, unacked int, ok bool) {
	var info [160]byte
	n := uint32(len(info))
	var errno syscall.Errno
	err := raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&n)), 0)
	})
	if err != nil || errno != 0 || n < 152 {
		return 0, 0, 0, false
	}
	at := func(offset int) int { return int(binary.NativeEndian.Uint32(info[offset:])) }
	// struct tcp_info: snd_mss, unacked, rtt, min_rtt.
	unacked = at(16) * at(24)
	return time.Duration(at(68)) * time.Microsecond, time.Duration(at(148)) * time.Microsecond, unacked, true
}

// setHeld bounds what the socket holds, sent or not; 0 gives the kernel the choice
// back. A kernel that cannot do the latter is left alone.
func setHeld(raw syscall.RawConn, size int) {
	raw.Control(func(fd uintptr) {
		if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soBufLock, 0) != nil || size == 0 {
			return
		}
		syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF, size/2) // it counts twice
	})
}
