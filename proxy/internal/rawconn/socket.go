package rawconn

import "net"

// Socket is a TCP or unix socket that can be read and written without waiting: a [Conn], or a [Watched].
type Socket interface {
	net.Conn
	// ReadInto is Read with a buffer of b, taken when there is something to read.
	ReadInto(b Buffers) (int, error)
	// TryWrite writes what the kernel takes at once.
	TryWrite(p []byte) (int, error)
	// Peek looks at what a Read would find.
	Peek() State
	// HasEnded tells whether the other end has ended its side.
	HasEnded() bool
	// Queued is how many bytes of those written were not acknowledged.
	Queued() int
	// CloseWrite ends the stream towards the other end.
	CloseWrite() error
}
