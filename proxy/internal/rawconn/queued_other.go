//go:build unix && !linux

package rawconn

func queued(uintptr) int { return 0 }
