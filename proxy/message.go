package proxy

import (
	"strconv"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// The framing of an HTTP/1.1 message is made anew here from what a body is, never
// taken from fields: a peer that lies about Content-Length must not make two
// messages out of one, or one out of two.

const contentLength = "Content-Length"

// appendRequest appends a whole request for an upstream. Without an authority,
// host stands in: HTTP/1.1 needs one.
func appendRequest(dst []byte, req *wire.Request, host string) []byte {
	if len(req.Authority) > 0 {
		dst = http1.AppendRequestLine(dst, req.Method, req.Target, req.Authority)
	} else {
		dst = http1.AppendRequestLine(dst, req.Method, req.Target, []byte(host))
	}
	return appendBody(dst, req.Fields, req.BodyKind == wire.BodyWhole, req.Body, req.Trailers, hopOf(req.Fields))
}

// hopOf is what Connection has to say of a request's fields.
func hopOf(fields []wire.Field) (hop http1.Hop) {
	for i := range fields {
		switch len(fields[i].Name) {
		case len("te"):
			if isName(fields[i].Name, "te") {
				hop |= http1.HopTE
			}
		case len("upgrade"):
			if isName(fields[i].Name, "upgrade") {
				hop |= http1.HopUpgrade
			}
		}
	}
	return hop
}

// appendResponse appends a whole response for a client that sent this method and
// minor version.
func appendResponse(dst []byte, resp *wire.Response, isHead bool, minor int, hop http1.Hop) []byte {
	dst = http1.AppendStatusLine(dst, resp.Status, resp.Reason)
	hasNone := resp.Status < 200 || resp.Status == 204 || resp.Status == 304
	switch {
	case isHead || hasNone:
		// A length here tells of the body that a GET would get.
		dst = appendFields(dst, resp.Fields, resp.BodyKind != wire.BodyWhole && resp.Status != 204 && resp.Status >= 200)
		if isHead && !hasNone && resp.BodyKind == wire.BodyWhole {
			dst = appendLength(dst, len(resp.Body))
		}
		return http1.AppendEnd(dst, hop)
	case minor == 0:
		return appendBody(dst, resp.Fields, true, resp.Body, nil, hop)
	}
	return appendBody(dst, resp.Fields, true, resp.Body, resp.Trailers, hop)
}

// appendFields appends fields, Content-Length only if the caller says so.
func appendFields(dst []byte, fields []wire.Field, withLength bool) []byte {
	if withLength {
		return http1.AppendFields(dst, fields)
	}
	for i := range fields {
		if !isContentLength(fields[i].Name) {
			dst = http1.AppendField(dst, fields[i].Name, fields[i].Value)
		}
	}
	return dst
}

func appendLength(dst []byte, n int) []byte {
	dst = append(dst, contentLength+": "...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	return append(dst, '\r', '\n')
}

// appendBody appends fields, framing and body. Content-Length keeps its place
// among the fields.
func appendBody(dst []byte, fields []wire.Field, hasBody bool, body []byte, trailers []wire.Field, hop http1.Hop) []byte {
	isChunked := hasBody && len(trailers) > 0
	needsLength := hasBody && !isChunked
	for i := range fields {
		f := &fields[i]
		if !isContentLength(f.Name) {
			dst = http1.AppendField(dst, f.Name, f.Value)
			continue
		}
		if needsLength {
			dst = append(append(dst, f.Name...), ": "...)
			dst = strconv.AppendInt(dst, int64(len(body)), 10)
			dst = append(dst, '\r', '\n')
			needsLength = false
		}
	}
	if needsLength {
		dst = appendLength(dst, len(body))
	}
	if !isChunked {
		return append(http1.AppendEnd(dst, hop), body...)
	}
	dst = http1.AppendEnd(dst, hop|http1.HopChunked)
	if len(body) > 0 {
		dst = http1.AppendChunkSize(dst, len(body))
		dst = append(append(dst, body...), '\r', '\n')
	}
	return http1.AppendLastChunk(dst, trailers)
}

func isContentLength(name []byte) bool {
	if len(name) != len(contentLength) {
		return false
	}
	for i := range name {
		if name[i]|0x20 != contentLength[i]|0x20 {
			return false
		}
	}
	return true
}

// bodyReader collects a body, whole, from the bytes that follow a head.
type bodyReader struct {
	isChunked bool
	length    int64 // -1: until the connection ends
	chunked   http1.Chunked
	body      []byte // chunked: the parts put together
	limit     int
}

var errBodyLimit = &http1.Error{Status: 413, Msg: "body too large"}

func (b *bodyReader) reset(isChunked bool, length int64, limit int, lim http1.Limits) error {
	b.isChunked, b.length, b.limit = isChunked, length, limit
	b.body = b.body[:0]
	if isChunked {
		b.chunked.Reset(lim)
	} else if length > int64(limit) {
		return errBodyLimit
	}
	return nil
}

// take looks at p, the bytes behind the head so far, of which it has taken off
// already: it returns how much of p is the body's, and whether that is all.
func (b *bodyReader) take(p []byte, off int) (n int, isDone bool, err error) {
	if !b.isChunked {
		if b.length < 0 {
			if len(p) > b.limit {
				return 0, false, errBodyLimit
			}
			return len(p), false, nil
		}
		return int(min(b.length, int64(len(p)))), int64(len(p)) >= b.length, nil
	}
	for {
		used, data, done, err := b.chunked.Next(p[off:])
		if err != nil {
			return off, false, err
		}
		off += used
		if len(b.body)+len(data) > b.limit {
			return off, false, errBodyLimit
		}
		b.body = append(b.body, data...)
		if done || used == 0 && len(data) == 0 || off == len(p) && len(data) == 0 {
			return off, done, nil
		}
	}
}

// bytes is the body, where p and n are those of take.
func (b *bodyReader) bytes(p []byte, n int) []byte {
	if b.isChunked {
		return b.body
	}
	return p[:n]
}
