//go:build !linux

package pool

import "syscall"

// linkOf knows nothing on this system.
func linkOf(syscall.RawConn) (LinkState, bool) { return LinkState{}, false }

// wireOf knows nothing on this system.
func wireOf(syscall.RawConn) (WireStats, bool) { return WireStats{}, false }
