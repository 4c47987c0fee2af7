//go:build !linux || h2tp_portable || h2tp_noloop

package rawconn

import (
	"errors"
	"net"
)

// Loop exists so that what watches sockets compiles; this system has none.
type Loop struct{}

// NewLoop is not available on this system.
func NewLoop() (*Loop, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (l *Loop) Close() {}

// Adopt takes nothing over.
func (l *Loop) Adopt(net.Conn) (*Watched, bool) { return nil, false }

// Watched exists so that what watches sockets compiles.
type Watched struct{ *Conn }

// Watch is not available on this system.
func (w *Watched) Watch(func()) {}

// Leave is not available on this system.
func (w *Watched) Leave() {}

// Unwatch is not available on this system.
func (w *Watched) Unwatch() bool { return false }

// TryReadInto is not available on this system.
func (w *Watched) TryReadInto(Buffers) (int, bool, error) { return 0, false, errors.ErrUnsupported }
