package rawconn

import (
	"syscall"
	"unsafe"
)

// pollRdhup is POLLRDHUP, which package syscall lacks.
const pollRdhup = 0x2000

// hasEnded asks without waiting; POLLERR and POLLHUP are told unasked.
func hasEnded(fd uintptr) bool {
	p := struct {
		fd              int32
		events, revents int16
	}{fd: int32(fd), events: pollRdhup}
	var now syscall.Timespec
	n, _, errno := syscall.RawSyscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&now)), 0, 0, 0)
	return errno == 0 && n > 0
}
