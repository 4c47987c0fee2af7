package pool

import (
	"fmt"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// HeaderError says why a header section was not sent, and nothing of its stream: it would be
// malformed (RFC 9113 8.2 and 8.3), or is larger than the peer takes.
type HeaderError struct{ Reason string }

func (e *HeaderError) Error() string { return "pool: header not sent: " + e.Reason }

func headerErrorf(format string, args ...any) *HeaderError {
	return &HeaderError{fmt.Sprintf(format, args...)}
}

// maxHeader is the largest header list that is sent to a peer which names no bound, or a larger
// one: it is appended to what waits for the socket whole.
const maxHeader = outSoftLimit

// size is that of the header list (RFC 9113 6.5.2).
func (h *Header) size() (n int) {
	add := func(name, value string) { n += len(name) + len(value) + 32 }
	if h.Status != 0 {
		add(":status", "200")
	} else {
		add(":method", h.Method)
		add(":scheme", h.Scheme)
		add(":authority", h.Authority)
		add(":path", h.Path)
	}
	for _, f := range h.Fields {
		add(f.Name, f.Value)
	}
	return n
}

// checkRequest finds what a peer would reset the stream for, or take for another request.
func (h *Header) checkRequest() error {
	switch {
	case !httpguts.ValidHeaderFieldName(h.Method) || h.Method == "CONNECT":
		return headerErrorf("method %q", h.Method)
	case hasGap(h.Authority) || strings.Contains(h.Authority, "@"):
		return headerErrorf("authority %q", h.Authority)
	case h.Path == "":
		return headerErrorf("path is empty")
	case h.Path[0] != '/' && (h.Path != "*" || h.Method != "OPTIONS") || hasGap(h.Path):
		return headerErrorf("path %q", h.Path)
	}
	return checkFieldList(h.Fields)
}

// checkResponse is the same for an answer, which is final.
func (h *Header) checkResponse() error {
	if h.Status < 200 || h.Status > 999 {
		return headerErrorf("status %d is none of a final response", h.Status)
	}
	return checkFieldList(h.Fields)
}

// hasGap reports whether s has what separates parts of a message: a space, or a control character.
func hasGap(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}

func checkFieldList(fields []Field) error {
	for _, f := range fields {
		switch {
		case strings.HasPrefix(f.Name, ":"):
			return headerErrorf("%q among the fields", f.Name)
		case !httpguts.ValidHeaderFieldName(f.Name):
			return headerErrorf("%q is no field's name", f.Name)
		case strings.ToLower(f.Name) != f.Name:
			return headerErrorf("field name %q is not in lower case", f.Name)
		case !httpguts.ValidHeaderFieldValue(f.Value) || strings.Trim(f.Value, " \t") != f.Value:
			return headerErrorf("value of field %q has a control character, or space around it", f.Name)
		case isOfConnection(f.Name, f.Value):
			return headerErrorf("field %q is of HTTP/1.1's connections", f.Name)
		}
	}
	return nil
}

// isOfConnection reports whether a field is one that HTTP/2 has no place for (RFC 9113 8.2.2).
func isOfConnection(name, value string) bool {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		return true
	}
	return name == "te" && value != "trailers"
}
