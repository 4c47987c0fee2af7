package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A counter reads what a side's end of the link has sent, by a netlink socket of that
// side's namespace: starting tc would take as long as a measurement when all
// processors are busy.
type counter struct {
	fd      int
	ifindex int
}

// openCounter makes the socket on a thread that visits the namespace. Should the
// thread not come back, it ends with its goroutine.
func openCounter(netns string) (*counter, error) {
	type answer struct {
		c   *counter
		err error
	}
	answerc := make(chan answer)
	go func() {
		c, err := visit(netns)
		answerc <- answer{c, err}
	}()
	a := <-answerc
	return a.c, a.err
}

func visit(netns string) (*counter, error) {
	runtime.LockOSThread() // and never unlock it: the thread is spoilt
	f, err := os.Open("/run/netns/" + netns)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, fmt.Errorf("setns: %w", err)
	}
	i, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	return &counter{fd, i.Index}, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5})
}

func (c *counter) close() { unix.Close(c.fd) }

// read asks for the root queue's statistics: rtnetlink(7), linux/gen_stats.h.
func (c *counter) read() (traffic, error) {
	request := make([]byte, 36) // a netlink header and a tcmsg
	binary.NativeEndian.PutUint32(request, uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], unix.RTM_GETQDISC)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ECHO) // without the echo only who listens for changes gets the answer
	binary.NativeEndian.PutUint32(request[20:], uint32(c.ifindex))
	binary.NativeEndian.PutUint32(request[28:], 0xffffffff) // TC_H_ROOT
	if err := unix.Sendto(c.fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return traffic{}, err
	}
	answer := make([]byte, 8<<10)
	n, _, err := unix.Recvfrom(c.fd, answer, 0)
	if err != nil {
		return traffic{}, err
	}
	if n < 36 || binary.NativeEndian.Uint16(answer[4:]) != unix.RTM_NEWQDISC {
		return traffic{}, errors.New("netlink: no root queue")
	}
	const stats2, basic = 7, 1 // TCA_STATS2, TCA_STATS_BASIC
	b := attribute(attribute(answer[36:n], stats2), basic)
	if len(b) < 12 {
		return traffic{}, errors.New("netlink: a queue without statistics")
	}
	return traffic{int(binary.NativeEndian.Uint64(b)), int(binary.NativeEndian.Uint32(b[8:]))}, nil
}

// attribute finds one by its type.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= 4 {
		size := int(binary.NativeEndian.Uint16(b))
		if size < 4 || size > len(b) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&0x3fff == kind {
			return b[4:size]
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return nil
}
