//go:build !linux

package pool

import "syscall"

// wireOf knows nothing on this system.
func wireOf(syscall.RawConn) (WireStats, bool) { return WireStats{}, false }
