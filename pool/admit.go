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
	ip := ap.Addr().WithZone("").Unmap()
	return (len(c.Allow) == 0 || contains(c.Allow, ip)) && !contains(c.Deny, ip)
}

func contains(list []netip.Prefix, ip netip.Addr) bool {
	for _, p := range list {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

// plainPrefixes writes prefixes of IPv4 addresses mapped into IPv6 as IPv4.
func plainPrefixes(list []netip.Prefix) []netip.Prefix {
	plain := make([]netip.Prefix, len(list))
	for i, p := range list {
		plain[i] = p
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			plain[i] = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
	}
	return plain
}
