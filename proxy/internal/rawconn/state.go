package rawconn

// State is what [Conn.Peek] saw.
type State uint8

const (
	Quiet   State = iota // open, nothing to read: an idle conn may be used again
	Pending              // bytes are waiting; on an idle conn to an upstream, bytes nobody asked for
	Gone                 // ended by the other end, broken, or closed here
)

func (s State) String() string {
	switch s {
	case Quiet:
		return "quiet"
	case Pending:
		return "pending"
	}
	return "gone"
}

// Buffers lends [Conn.ReadInto] one buffer at a time.
type Buffers interface {
	// Acquire gives a buffer of at least one byte.
	Acquire() []byte
	// Release takes back the buffer given last, unused.
	Release()
}
