package rawconn

import (
	"syscall"
	"unsafe"
)

// queued is what was written and not acknowledged (SIOCOUTQ, the same number as TIOCOUTQ).
func queued(fd uintptr) int {
	var n int32
	if _, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&n))); errno != 0 {
		return 0
	}
	return int(n)
}
