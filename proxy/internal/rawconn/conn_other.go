//go:build !unix || h2tp_portable

package rawconn

import (
	"errors"
	"net"
	"syscall"
)

// Conn exists so that assertions to it compile; no Wrap makes one on this system.
type Conn struct{ net.Conn }

// Wrap returns nc as it is: this system has no descriptors to read from without waiting.
func Wrap(nc net.Conn) net.Conn { return nc }

// ReadInto is not available on this system.
func (c *Conn) ReadInto(Buffers) (int, error) { return 0, errors.ErrUnsupported }

// TryWrite is not available on this system.
func (c *Conn) TryWrite([]byte) (int, error) { return 0, errors.ErrUnsupported }

// WriteBuffers is not available on this system.
func (c *Conn) WriteBuffers(*net.Buffers) (int64, error) { return 0, errors.ErrUnsupported }

// Peek is not available on this system.
func (c *Conn) Peek() State { return Gone }

// HasEnded is not available on this system.
func (c *Conn) HasEnded() bool { return false }

// Queued is not available on this system.
func (c *Conn) Queued() int { return 0 }

// CloseWrite is not available on this system.
func (c *Conn) CloseWrite() error { return errors.ErrUnsupported }

// SyscallConn is not available on this system.
func (c *Conn) SyscallConn() (syscall.RawConn, error) { return nil, errors.ErrUnsupported }

// NetConn gives the conn inside.
func (c *Conn) NetConn() net.Conn { return c.Conn }
