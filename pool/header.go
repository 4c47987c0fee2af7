package pool

import (
	"bytes"
	"strconv"
	"strings"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Field is one header field; names are in lower case. A sensitive one is never
// indexed by HPACK (RFC 7541 7.1).
type Field struct {
	Name, Value string
	Sensitive   bool
}

// Header is the header section that opened a stream, or the one that answered.
type Header struct {
	// Method, Scheme, Authority and Path are a request's pseudo-header fields. Open fills
	// in an empty Method, POST, and Authority, the client's Addr, and sets Scheme to the
	// connection's; it needs a Path, beginning with a slash.
	Method, Scheme, Authority, Path string
	// Status is a response's.
	Status int
	// Fields hold none of the pseudo-header fields, nor of those that concern one
	// connection of HTTP/1.1.
	Fields []Field
}

// Value returns the first value of the field with that lower-case name, or "".
func (h *Header) Value(name string) string {
	for _, f := range h.Fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func headerOf(f *http2.MetaHeadersFrame) Header {
	var h Header
	for _, hf := range f.Fields {
		switch hf.Name {
		case ":method":
			h.Method = hf.Value
		case ":scheme":
			h.Scheme = hf.Value
		case ":authority":
			h.Authority = hf.Value
		case ":path":
			h.Path = hf.Value
		case ":status":
			h.Status, _ = strconv.Atoi(hf.Value)
		default:
			if !strings.HasPrefix(hf.Name, ":") {
				h.Fields = append(h.Fields, Field{hf.Name, hf.Value, hf.Sensitive})
			}
		}
	}
	return h
}

// encodeHeader writes h's header block. The encoder's table is shared by all
// streams of a connection, so the block must be sent in the order encoded.
func encodeHeader(enc *hpack.Encoder, h *Header) {
	write := func(name, value string) { enc.WriteField(hpack.HeaderField{Name: name, Value: value}) }
	if h.Status != 0 {
		write(":status", strconv.Itoa(h.Status))
	} else {
		write(":method", h.Method)
		write(":scheme", h.Scheme)
		write(":authority", h.Authority)
		write(":path", h.Path)
	}
	for _, f := range h.Fields {
		enc.WriteField(hpack.HeaderField{Name: f.Name, Value: f.Value, Sensitive: f.Sensitive})
	}
}

// appendHeaders appends a HEADERS frame, with CONTINUATION frames where the
// block is longer than the peer's frame limit.
func appendHeaders(dst []byte, id uint32, block *bytes.Buffer, end bool, maxFrame int) []byte {
	p := block.Bytes()
	typ, flags := http2.FrameHeaders, http2.Flags(0)
	if end {
		flags |= http2.FlagHeadersEndStream
	}
	for {
		n := min(len(p), maxFrame)
		if n == len(p) {
			flags |= http2.FlagHeadersEndHeaders
		}
		dst = appendFrameHeader(dst, n, typ, flags, id)
		dst = append(dst, p[:n]...)
		if p = p[n:]; len(p) == 0 {
			return dst
		}
		typ, flags = http2.FrameContinuation, 0
	}
}
