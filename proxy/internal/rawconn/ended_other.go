//go:build unix && !linux && !h2tp_portable

package rawconn

// hasEnded finds an end with nothing unread before it.
func hasEnded(fd uintptr) bool {
	var p [1]byte
	n, errno := peek(fd, p[:])
	return errno == 0 && n == 0
}
