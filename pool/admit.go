package pool

import (
	"net"
	"net/netip"
)

// admits reports whether an address may connect. One that is no IP address, as of
// a Unix socket, may if there is no list of those that may.
func (c *ServerConfig) admits(addr net.Addr) bool {
	if len(c.Allow) == 0 && len(c.Deny) == 0 {
		return true
	}
	ap, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return len(c.Allow) == 0
	}
	ip := ap.Addr()
	return (len(c.Allow) == 0 || Prefixes(c.Allow).Contains(ip)) && !Prefixes(c.Deny).Contains(ip)
}

// NetworkOf returns what the connections of an address are counted by: itself, or its /64 of
// IPv6, of which one customer has as many addresses as anybody may want. It is not valid when ip is not.
func NetworkOf(ip netip.Addr) netip.Prefix {
	ip = ip.WithZone("").Unmap()
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}

// Prefixes are networks of IPv4 and IPv6.
type Prefixes []netip.Prefix

// Contains reports whether ip, whatever its zone, is in one of them. An IPv4 address
// is the same when it is written as an IPv6 one (RFC 4291, 2.5.5.2).
func (list Prefixes) Contains(ip netip.Addr) bool {
	ip = ip.WithZone("").Unmap()
	for _, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
