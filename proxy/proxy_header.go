package proxy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// The PROXY protocol, versions 1 and 2, in. It is read by the byte, never further than its end, so that the socket stays what
// it is, with raw I/O; what libraries there are wrap it in a buffer instead.

const (
	// proxyTimeout bounds the wait for the header.
	proxyTimeout = 10 * time.Second
	// maxProxyV1 is the longest line there is, and maxProxyV2 more than anybody sends, TLVs included.
	maxProxyV1 = 107
	maxProxyV2 = 4 << 10
)

var (
	proxyV2     = []byte("\r\n\r\n\x00\r\nQUIT\n")
	errNoHeader = errors.New("no PROXY header")
)

// readProxyHeader reads a header and returns whom it names; an address that is not valid when it names nobody, as the
// proxy's own connections do.
func readProxyHeader(r io.Reader) (from netip.AddrPort, err error) {
	var buf [maxProxyV1]byte
	start := buf[:len(proxyV2)] // neither version is shorter
	if _, err := io.ReadFull(r, start); err != nil {
		return from, fmt.Errorf("%w: %w", errNoHeader, err)
	}
	switch {
	case bytes.Equal(start, proxyV2):
		return readProxyV2(r)
	case bytes.HasPrefix(start, []byte("PROXY ")):
		return readProxyV1(r, buf[:], len(start))
	}
	return from, errNoHeader
}

// readProxyV1 reads the rest of a line, of which n bytes are there.
func readProxyV1(r io.Reader, line []byte, n int) (from netip.AddrPort, err error) {
	for {
		if end := bytes.IndexByte(line[:n], '\n'); end >= 0 {
			if line[end-1] != '\r' {
				return from, errors.New("the PROXY header has a bare line feed")
			}
			return parseProxyV1(string(line[:end-1]))
		}
		more := 2 // as many bytes are still to come, at least
		if line[n-1] == '\r' {
			more = 1
		}
		if n+more > len(line) {
			return from, errors.New("the PROXY header is too long")
		}
		if _, err := io.ReadFull(r, line[n:n+more]); err != nil {
			return from, err
		}
		n += more
	}
}

func parseProxyV1(line string) (from netip.AddrPort, err error) {
	bad := fmt.Errorf("the PROXY header is %q", line)
	words := bytes.Split([]byte(line), []byte(" "))
	kind := string(words[1])
	if kind == "UNKNOWN" {
		return from, nil
	}
	if len(words) != 6 || kind != "TCP4" && kind != "TCP6" {
		return from, bad
	}
	var addrs [2]netip.Addr
	var ports [2]uint64
	for i := range 2 {
		var portErr error
		addrs[i], err = netip.ParseAddr(string(words[2+i]))
		ports[i], portErr = strconv.ParseUint(string(words[4+i]), 10, 16)
		if err != nil || portErr != nil || addrs[i].Is4() != (kind == "TCP4") || addrs[i].Zone() != "" {
			return from, bad
		}
	}
	return netip.AddrPortFrom(addrs[0].Unmap(), uint16(ports[0])), nil
}

func readProxyV2(r io.Reader) (from netip.AddrPort, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return from, err
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	if head[0] != 0x20 && head[0] != 0x21 || size > maxProxyV2 {
		return from, fmt.Errorf("the PROXY header has version and command %#x, %d bytes", head[0], size)
	}
	body := make([]byte, size) // what follows the addresses, TLVs, is skipped
	if _, err := io.ReadFull(r, body); err != nil {
		return from, err
	}
	width := 0
	switch {
	case head[0] == 0x20 || head[1] == 0 || head[1] == 0x31: // LOCAL; of no family, or of a unix socket
		return from, nil
	case head[1] == 0x11:
		width = 4
	case head[1] == 0x21:
		width = 16
	}
	if width == 0 || size < 2*width+4 {
		return from, fmt.Errorf("the PROXY header has family %#x, %d bytes", head[1], size)
	}
	ip, _ := netip.AddrFromSlice(body[:width])
	return netip.AddrPortFrom(ip.Unmap(), binary.BigEndian.Uint16(body[2*width:])), nil
}

// expectsHeader reports whether who connects from this address begins with a PROXY header.
func (e *Entry) expectsHeader(ip netip.Addr) bool {
	return e.ProxyProtocol && e.trusts(ip)
}

// namesOthers reports whether it is the header that tells who comes, rather than the connection.
func (e *Entry) namesOthers(ip netip.Addr) bool {
	return e.expectsHeader(ip) && (e.TrustNobody || len(e.TrustedProxies) > 0)
}

// meet reads the header that the client's connection begins with, where there is one; false when it may not come.
func (c *clientConn) meet() bool {
	if !c.hasHeader {
		return true
	}
	c.socket.SetReadDeadline(time.Now().Add(proxyTimeout))
	from, err := readProxyHeader(c.socket)
	c.socket.SetReadDeadline(time.Time{})
	ip := from.Addr()
	if !ip.IsValid() { // it speaks for itself
		ip = addrOf(c.socket.RemoteAddr())
	} else if tc, ok := c.nc.(*tlsConn); ok {
		tc.under.from = net.TCPAddrFromAddrPort(from)
	}
	if err != nil {
		c.f.route.stats.denied.Add(1)
		c.f.gate.lines.info(c.f.log, addrOf(c.socket.RemoteAddr()), "refused", "addr", c.socket.RemoteAddr().String(), "why", err)
	}
	if err != nil || !c.f.gate.admits(ip, c.rules) || !c.f.recount(c, ip) {
		c.nc.Close()
		return false
	}
	return true
}

// recount counts a connection by the address that its header names; false when that has too many.
func (f *Front) recount(c *clientConn, ip netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.uncountLocked(c)
	c.isFrom(ip)
	if !f.countLocked(c) {
		c.from = netip.Prefix{} // it is not among them
		f.route.stats.refused.Add(1)
		return false
	}
	return true
}
