package pool

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// MismatchError says that the peer speaks another protocol than the configured
// one: Got is what was seen of it, Want what was expected.
type MismatchError struct{ Got, Want string }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("pool: peer %s; want %s", e.Got, e.Want)
}

const wantClear = "HTTP/2 in the clear"

// spoken names the protocol that a peer's first bytes are of.
func spoken(p []byte) string {
	switch {
	case bytes.HasPrefix(p, []byte("HTTP/")): // a status line
		return "answered HTTP/1.1"
	case bytes.HasPrefix(p, []byte("PRI")), len(p) >= 5 && p[0] == 0 && p[3] == 4 && p[4] == 0: // a preface; SETTINGS
		return "speaks HTTP/2 in the clear"
	case len(p) >= 2 && p[0] >= 0x14 && p[0] <= 0x17 && p[1] == 3: // a record's type, and version
		return "speaks TLS"
	}
	for _, method := range []string{"GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI", "PATC", "CONN"} {
		if bytes.HasPrefix(p, []byte(method)) {
			return "speaks HTTP/1.1"
		}
	}
	return fmt.Sprintf("sent %q", p)
}

// handshakeError tells which protocol a peer speaks that speaks no TLS.
func handshakeError(err error, isClient bool) error {
	re, ok := errors.AsType[tls.RecordHeaderError](err)
	if !ok {
		if isClient && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
			return fmt.Errorf("tls: peer closed the connection in the handshake: %w", err)
		}
		return err
	}
	got := spoken(re.RecordHeader[:])
	if re.Conn != nil && got == "speaks "+wantClear {
		sayTLS(re.Conn)
	}
	return &MismatchError{Got: "speaks no TLS: it " + got, Want: "TLS"}
}

// sayTLS lets a client in the clear see what it met: crypto/tls closes without a
// word on what is no TLS record.
func sayTLS(nc net.Conn) {
	nc.SetWriteDeadline(time.Now().Add(time.Second))
	nc.Write([]byte{0x15, 3, 1, 0, 2, 2, 10}) // fatal alert, unexpected_message
}

// readFirst looks at the first bytes of a client's peer, which are SETTINGS where
// HTTP/2 is spoken, before the Framer takes them for a frame.
func (c *conn) readFirst() error {
	p, err := c.br.peek(5)
	switch got := spoken(p); {
	case got != "speaks TLS" && got != "answered HTTP/1.1": // the Framer will tell
	case c.cfg.Cleartext:
		return &MismatchError{Got: got, Want: wantClear}
	default:
		return &MismatchError{Got: got, Want: "HTTP/2"}
	}
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("peer closed the connection before its SETTINGS: %w", err)
	}
	return err
}
