package http1

import "github.com/h2tp/h2tp/proxy/internal/wire"

// Field is one field line; parsing leaves Secret false.
type Field = wire.Field

// name is what a field means to the framing of a message or to one hop.
type name uint8

const (
	endToEnd name = iota
	// Kept, and looked at.
	nameContentLength
	nameExpect
	// Taken out.
	nameHost
	nameConnection
	nameTransferEncoding
	nameTE
	nameUpgrade
	// Taken out and not looked at.
	nameOther
)

// nameOf knows the fields that concern one hop (RFC 9110 7.6.1) and those that frame a message.
//
// Proxy-Authenticate and Proxy-Authentication-Info concern "only the next outbound client" (RFC
// 9110 11.7.1, 11.7.3), which is h2tp; since Proxy-Authorization is not forwarded either, a
// challenge that crossed would ask for credentials that can never arrive.
func nameOf(p []byte) name {
	switch len(p) {
	case 2:
		return either(p, "te", nameTE)
	case 4:
		return either(p, "host", nameHost)
	case 6:
		return either(p, "expect", nameExpect)
	case 7:
		return either(p, "upgrade", nameUpgrade)
	case 10:
		if p[0]|0x20 == 'k' {
			return either(p, "keep-alive", nameOther)
		}
		return either(p, "connection", nameConnection)
	case 14:
		if p[0]|0x20 == 'h' {
			return either(p, "http2-settings", nameOther)
		}
		return either(p, "content-length", nameContentLength)
	case 16:
		return either(p, "proxy-connection", nameOther)
	case 17:
		return either(p, "transfer-encoding", nameTransferEncoding)
	case 18:
		return either(p, "proxy-authenticate", nameOther)
	case 19:
		return either(p, "proxy-authorization", nameOther)
	case 25:
		return either(p, "proxy-authentication-info", nameOther)
	}
	return endToEnd
}

func either(p []byte, lower string, n name) name {
	if isFold(p, lower) {
		return n
	}
	return endToEnd
}

// IsHopByHop tells whether a field of this name, in any case, concerns one hop only or is carried by other
// means (Host), so that it is never in the Fields of a head. What Connection names comes on top.
func IsHopByHop(name []byte) bool { return nameOf(name) >= nameHost }

// IsValidField tells whether name is a token of at most 255 bytes and value has nothing that ends or
// breaks a line: what the fields of every parsed head are.
func IsValidField(name, value []byte) bool {
	if len(name) == 0 || len(name) > maxName || tokenEnd(name, 0) != len(name) || indexCtl(value, 0) != len(value) {
		return false
	}
	return len(value) == 0 || !isSpace(value[0]) && !isSpace(value[len(value)-1])
}
