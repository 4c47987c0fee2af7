package proxy

import (
	"bytes"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

var (
	nameVia      = []byte("Via")
	nameTE       = []byte("TE")
	valueTE      = []byte("trailers")
	nameUpgrade  = []byte("Upgrade")
	protocolH2C  = []byte("h2c")
	commaAndTabs = ", \t"
)

// isTE reports whether a field is the TE that crosses the hop: of who reads trailers.
func isTE(f *wire.Field) bool { return isName(f.Name, "te") && bytes.EqualFold(f.Value, valueTE) }

// withoutH2C leaves h2c out of the protocols of an Upgrade: nothing speaks it any more (RFC 9113 3.1), and what came by
// such a tunnel would pass all that is decided by request. nil when no other is left.
func withoutH2C(protocols []byte) (left []byte) {
	if len(protocols) < len(protocolH2C) || !bytes.Contains(bytes.ToLower(protocols), protocolH2C) {
		return protocols
	}
	for p := range bytes.SplitSeq(protocols, []byte(",")) {
		if p = bytes.Trim(p, commaAndTabs); !bytes.EqualFold(p, protocolH2C) && len(p) > 0 {
			if left != nil {
				left = append(left, ", "...)
			}
			left = append(left, p...)
		}
	}
	return left
}

// hygiene edits the fields of requests and responses. It keeps a scratch for the
// values it makes, so that a steady state allocates nothing; they are valid until
// the scratch is cut.
type hygiene struct{ scratch []byte }

// via marks the request as having passed here (RFC 9110 7.6.3); ok is false
// when it has been here before: a loop.
func (h *hygiene) via(fields []wire.Field, protocol string, name []byte) (out []wire.Field, ok bool) {
	for i := range fields {
		if len(fields[i].Name) == len(nameVia) && bytes.EqualFold(fields[i].Name, nameVia) && bytes.Contains(fields[i].Value, name) {
			return fields, false
		}
	}
	start := len(h.scratch)
	h.scratch = append(append(h.scratch, protocol...), name...)
	return h.appendValue(fields, nameVia, h.scratch[start:]), true
}

func (h *hygiene) appendValue(fields []wire.Field, name, value []byte) []wire.Field {
	for i := len(fields) - 1; i >= 0; i-- {
		f := &fields[i]
		if len(f.Name) != len(name) || !bytes.EqualFold(f.Name, name) {
			continue
		}
		if len(f.Value) == 0 {
			f.Value = value
			return fields
		}
		start := len(h.scratch)
		h.scratch = append(h.scratch, f.Value...)
		h.scratch = append(h.scratch, ", "...)
		h.scratch = append(h.scratch, value...)
		f.Value = h.scratch[start:]
		return fields
	}
	return append(fields, wire.Field{Name: name, Value: value})
}

var nameContentEncoding = []byte("Content-Encoding")
var nameContentType = []byte("Content-Type")

// isCompressed reports whether a body with these fields would gain nothing from
// a codec: it has one already, or is of a kind that has.
func isCompressed(fields []wire.Field) bool {
	for i := range fields {
		f := &fields[i]
		switch len(f.Name) {
		case len(nameContentEncoding):
			if bytes.EqualFold(f.Name, nameContentEncoding) && !bytes.EqualFold(f.Value, []byte("identity")) {
				return true
			}
		case len(nameContentType):
			if bytes.EqualFold(f.Name, nameContentType) && isCompressedType(f.Value) {
				return true
			}
		}
	}
	return false
}

func isCompressedType(v []byte) bool {
	if i := bytes.IndexByte(v, ';'); i >= 0 {
		v = bytes.TrimRight(v[:i], " ")
	}
	for _, prefix := range [...]string{"image/", "video/", "audio/", "font/woff"} {
		if len(v) >= len(prefix) && string(v[:len(prefix)]) == prefix {
			return !bytes.HasSuffix(v, []byte("svg+xml")) && !bytes.HasSuffix(v, []byte("/bmp"))
		}
	}
	switch string(v) {
	case "application/zip", "application/gzip", "application/zstd", "application/x-7z-compressed",
		"application/x-xz", "application/x-bzip2", "application/pdf", "application/x-rar-compressed":
		return true
	}
	return false
}
