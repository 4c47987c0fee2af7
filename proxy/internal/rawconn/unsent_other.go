//go:build !linux

package rawconn

import "net"

// LimitUnsent does nothing on this system.
func LimitUnsent(net.Conn, int) {}
