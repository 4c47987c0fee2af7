//go:build unix

package bench

import (
	"syscall"
	"time"
)

// cpuTime is what the process has used so far, in user mode and in the kernel.
func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
