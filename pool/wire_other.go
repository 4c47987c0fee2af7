//go:build !linux

package pool

import "syscall"

// linkOf knows nothing on this system.
func linkOf(syscall.RawConn) (LinkState, bool) { return LinkState{}, false }

// wireOf knows nothing on this system.
func wireOf(syscall.RawConn) (WireStats, bool) { return WireStats{}, false }

// goneOf knows nothing either.
func goneOf(syscall.RawConn) (gone, held int64, ok bool) { return 0, 0, false }
