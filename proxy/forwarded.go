package proxy

import (
	"bytes"
	"net/netip"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

var (
	nameXFF       = []byte("X-Forwarded-For")
	nameXFH       = []byte("X-Forwarded-Host")
	nameXFP       = []byte("X-Forwarded-Proto")
	nameForwarded = []byte("Forwarded")

	protoHTTP, protoHTTPS = []byte("http"), []byte("https")
)

// maxForwardedHost bounds the authority that is said again: a head has room for that much more at the next end.
const maxForwardedHost = 255

// origin is what upstreams are told of a client's connection.
type origin struct {
	addr      []byte // its IP address, or unknown
	isTrusted bool   // what it tells of others is passed on
	isTLS     bool
}

// originOf is that of a client with an address, which is not valid when it came by a unix socket.
func (e *Entry) originOf(ip netip.Addr, isTLS bool) origin {
	o := origin{addr: []byte("unknown"), isTrusted: e.trusts(ip), isTLS: isTLS}
	if ip.IsValid() {
		o.addr = ip.AppendTo(nil)
	}
	return o
}

// forwarded tells the upstream of the client: its address is appended to X-Forwarded-For, scheme and host are told where
// nobody did before. What one who is not trusted says of others is dropped first.
func (h *hygiene) forwarded(fields []wire.Field, o *origin, authority []byte, e *Entry) []wire.Field {
	if !o.isTrusted {
		fields = dropForwarding(fields)
	}
	hasHost, hasProto := false, false
	for i := range fields {
		switch name := fields[i].Name; len(name) {
		case len(nameXFH):
			hasHost = hasHost || bytes.EqualFold(name, nameXFH)
		case len(nameXFP):
			hasProto = hasProto || bytes.EqualFold(name, nameXFP)
		}
	}
	proto := protoHTTP
	if o.isTLS {
		proto = protoHTTPS
	}
	fields = h.appendValue(fields, nameXFF, o.addr)
	if !hasHost && len(authority) > 0 && len(authority) <= maxForwardedHost {
		fields = append(fields, wire.Field{Name: nameXFH, Value: authority})
	}
	if !hasProto {
		fields = append(fields, wire.Field{Name: nameXFP, Value: proto})
	}
	if e.Forwarded {
		start := len(h.scratch)
		h.scratch = appendElement(h.scratch, o.addr, authority, proto)
		fields = h.appendValue(fields, nameForwarded, h.scratch[start:])
	}
	return fields
}

// appendElement appends a forwarded-element of RFC 7239 4.
func appendElement(dst, addr, authority, proto []byte) []byte {
	dst = append(dst, "for="...)
	if bytes.IndexByte(addr, ':') >= 0 {
		dst = append(append(append(dst, `"[`...), addr...), `]"`...)
	} else {
		dst = append(dst, addr...)
	}
	if len(authority) > 0 && len(authority) <= maxForwardedHost {
		dst = append(dst, `;host="`...)
		for _, b := range authority {
			if b == '"' || b == '\\' {
				dst = append(dst, '\\')
			}
			dst = append(dst, b)
		}
		dst = append(dst, '"')
	}
	return append(append(dst, ";proto="...), proto...)
}

// dropForwarding removes the fields by which proxies tell of clients.
func dropForwarding(fields []wire.Field) []wire.Field {
	keep := fields[:0]
	for _, f := range fields {
		if !isForwarding(f.Name) {
			keep = append(keep, f)
		}
	}
	return keep
}

func isForwarding(name []byte) bool {
	const prefix = "x-forwarded-"
	return len(name) > len(prefix) && isTwin(name[:len(prefix)], prefix) || isTwin(name, "forwarded") || isTwin(name, "x-real-ip")
}

// isTwin reports whether a program that makes variables of names, as CGI has it (RFC 3875 4.1.18), takes name for one in lower
// case: all that is no letter and no digit is a low line to it.
func isTwin(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, b := range name {
		isAlnum := b >= '0' && b <= '9' || b|0x20 >= 'a' && b|0x20 <= 'z'
		if isAlnum && b|0x20 != lower[i] || !isAlnum && lower[i] != '-' {
			return false
		}
	}
	return true
}
