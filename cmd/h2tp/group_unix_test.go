//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// inGroup lets cmd, once started, be killed with its children.
func inGroup(cmd *exec.Cmd) (kill func()) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return func() { syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
