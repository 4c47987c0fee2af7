//go:build !unix

package main

import "time"

// cpuTime is not known here: the number of processors stays what it is.
func cpuTime() (time.Duration, bool) { return 0, false }
