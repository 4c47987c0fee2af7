package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A process is one that the measurement started, and those which that started.
type process struct {
	role string // front, back, upstream or client
	name string
	cmd  *exec.Cmd
	file string
	endc chan struct{} // closed when it has ended
}

// start runs a program on a side of the link.
func (w *world) start(s side, role, name string, program string, args ...string) (*process, error) {
	p := &process{role: role, name: name, endc: make(chan struct{}), file: w.path(name + ".log")}
	p.cmd = w.command(s, program, args...)
	log, err := os.Create(p.file)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.endc)
	}()
	return p, nil
}

// command is a program on a side of the link; ip becomes the program, so that the
// process is the program's.
func (w *world) command(s side, program string, args ...string) *exec.Cmd {
	isOwn := program == w.self
	if s.netns != "" {
		args = append([]string{"netns", "exec", s.netns, program}, args...)
		program = "ip"
	}
	cmd := exec.CommandContext(w.ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if isOwn {
		// The client, the upstream and the reference hop never need more than one
		// processor, and cost less on one.
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	}
	return cmd
}

func (p *process) stop() {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.endc:
	case <-time.After(3 * time.Second):
		p.cmd.Process.Kill()
		<-p.endc
	}
}

// log is the end of what the process wrote.
func (p *process) log() string {
	b, _ := os.ReadFile(p.file)
	return string(b[max(0, len(b)-2000):])
}

// usage is the kernel's account of a process and those it started.
type usage struct {
	cpu      time.Duration
	switches int // voluntary: it had to wait
	forced   int // involuntary: others wanted the processor
}

func (p *process) usage() (usage, error) {
	var u usage
	for _, pid := range append(children(p.cmd.Process.Pid), p.cmd.Process.Pid) {
		if err := u.add(pid); err != nil {
			return u, fmt.Errorf("%s: %w: %s", p.name, err, p.log())
		}
	}
	return u, nil
}

// add adds all threads of a process. schedstat counts in nanoseconds, where stat has
// hundredths of a second.
func (u *usage) add(pid int) error {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if len(tasks) == 0 {
		return errors.New("it has ended")
	}
	for _, task := range tasks {
		b, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			continue // a thread that ended
		}
		cpu, _, _ := strings.Cut(string(b), " ")
		n, err := strconv.ParseInt(cpu, 10, 64)
		if err != nil {
			return err
		}
		u.cpu += time.Duration(n)
		b, _ = os.ReadFile(task + "/status")
		u.switches += statusNumber(b, "\nvoluntary_ctxt_switches:")
		u.forced += statusNumber(b, "\nnonvoluntary_ctxt_switches:")
	}
	return nil
}

func statusNumber(b []byte, name string) int {
	_, b, _ = bytes.Cut(b, []byte(name))
	b, _, _ = bytes.Cut(b, []byte("\n"))
	n, _ := strconv.Atoi(string(bytes.TrimSpace(b)))
	return n
}

// children are the processes that one started.
func children(pid int) (pids []int) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	for f := range strings.FieldsSeq(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			pids = append(append(pids, n), children(n)...)
		}
	}
	return pids
}
