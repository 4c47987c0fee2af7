package pool

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// goneOf returns how many bytes the peer's kernel has acknowledged, and how many more the
// socket holds, sent or not.
func goneOf(socket syscall.RawConn) (gone, held int64, ok bool) {
	if socket == nil {
		return 0, 0, false
	}
	var info *unix.TCPInfo
	var queued int
	var err error
	if closed := socket.Control(func(fd uintptr) {
		if queued, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err == nil { // first: what goes meanwhile counts twice
			info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		}
	}); closed != nil || err != nil {
		return 0, 0, false
	}
	return int64(info.Bytes_acked), int64(queued), true
}

// infoOf asks for TCP_INFO; nil when there is none.
func infoOf(socket syscall.RawConn) (info *unix.TCPInfo) {
	if socket == nil {
		return nil
	}
	var err error
	if closed := socket.Control(func(fd uintptr) {
		info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	}); closed != nil || err != nil {
		return nil
	}
	return info
}

func linkOf(socket syscall.RawConn) (st LinkState, ok bool) {
	info := infoOf(socket)
	if info == nil {
		return st, false
	}
	return LinkState{
		Unsent: int(info.Notsent_bytes), RoundTrip: time.Duration(info.Rtt) * time.Microsecond,
		LeastRoundTrip: time.Duration(info.Min_rtt) * time.Microsecond,
	}, true
}

// wireOf knows what TCP_INFO does. Kernels before 4.19 do not count bytes sent.
func wireOf(socket syscall.RawConn) (w WireStats, ok bool) {
	info := infoOf(socket)
	if info == nil {
		return w, false
	}
	return WireStats{
		BytesIn: int64(info.Bytes_received), BytesOut: int64(info.Bytes_sent), BytesAgain: int64(info.Bytes_retrans),
		PacketsIn: int64(info.Segs_in), PacketsOut: int64(info.Segs_out), RoundTrip: time.Duration(info.Rtt) * time.Microsecond,
	}, true
}
