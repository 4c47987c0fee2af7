package pool

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// wireOf asks for TCP_INFO. Kernels before 4.19 do not count bytes sent.
func wireOf(socket syscall.RawConn) (w WireStats, ok bool) {
	if socket == nil {
		return w, false
	}
	var info *unix.TCPInfo
	var err error
	if closed := socket.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); closed != nil || err != nil {
		return w, false
	}
	return WireStats{
		BytesIn: int64(info.Bytes_received), BytesOut: int64(info.Bytes_sent), BytesAgain: int64(info.Bytes_retrans),
		PacketsIn: int64(info.Segs_in), PacketsOut: int64(info.Segs_out), RoundTrip: time.Duration(info.Rtt) * time.Microsecond,
	}, true
}
