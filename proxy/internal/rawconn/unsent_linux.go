package rawconn

import (
	"net"
	"syscall"
)

// tcpNotsentLowat is TCP_NOTSENT_LOWAT, which package syscall lacks.
const tcpNotsentLowat = 25

// LimitUnsent lets a TCP socket take bytes only while fewer than n wait unsent in
// the kernel, so that what is written next does not queue behind megabytes. Other
// conns are left alone, and so is a kernel that refuses.
func LimitUnsent(nc net.Conn, n int) {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return
	}
	raw.Control(func(fd uintptr) {
		syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpNotsentLowat, n)
	})
}
