package http1

import "strconv"

// Hop says what a head gets after its fields: what concerns this connection only.
type Hop uint8

const (
	HopChunked   Hop = 1 << iota // Transfer-Encoding: chunked
	HopClose                     // Connection: close
	HopKeepAlive                 // Connection: keep-alive, which only HTTP/1.0 clients need
	HopTE                        // Connection: TE, of a request that has the field
	HopUpgrade                   // Connection: Upgrade
)

// AppendRequest appends a whole request head. Host comes first, where servers look for it. A known length of
// the body is told by the Content-Length in fields, which is left out with HopChunked.
func AppendRequest(dst, method, target, authority []byte, fields []Field, hop Hop) []byte {
	dst = AppendRequestLine(dst, method, target, authority)
	dst = appendFramed(dst, fields, hop)
	return AppendEnd(dst, hop)
}

// AppendRequestLine appends the request line, for HTTP/1.1, and Host.
func AppendRequestLine(dst, method, target, authority []byte) []byte {
	start := len(dst)
	dst = append(dst, method...)
	dst = append(dst, ' ')
	dst = append(dst, target...)
	dst = guard(dst, start)
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	start = len(dst)
	dst = append(dst, authority...)
	dst = guard(dst, start)
	return append(dst, '\r', '\n')
}

// AppendResponseHead appends a whole response head, with AppendRequest's rule for the length.
func AppendResponseHead(dst []byte, status int, reason []byte, fields []Field, hop Hop) []byte {
	dst = AppendStatusLine(dst, status, reason)
	dst = appendFramed(dst, fields, hop)
	return AppendEnd(dst, hop)
}

// appendFramed never lets both ways to end a body into one message.
func appendFramed(dst []byte, fields []Field, hop Hop) []byte {
	if hop&HopChunked == 0 {
		return AppendFields(dst, fields)
	}
	for i := range fields {
		if nameOf(fields[i].Name) != nameContentLength {
			dst = AppendField(dst, fields[i].Name, fields[i].Value)
		}
	}
	return dst
}

// AppendStatusLine appends the status line, for HTTP/1.1. A nil reason stands for the standard
// phrase; an empty one stays empty. A status outside 100 to 999 becomes 502.
func AppendStatusLine(dst []byte, status int, reason []byte) []byte {
	if status < 100 || status > 999 {
		status, reason = 502, nil
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if reason == nil {
		dst = append(dst, StatusText(status)...)
	} else {
		start := len(dst)
		dst = append(dst, reason...)
		dst = guard(dst, start)
	}
	return append(dst, '\r', '\n')
}

// AppendFields appends field lines.
func AppendFields(dst []byte, fields []Field) []byte {
	for i := range fields {
		dst = AppendField(dst, fields[i].Name, fields[i].Value)
	}
	return dst
}

// AppendField appends one field line.
func AppendField[N, V ~[]byte | ~string](dst []byte, name N, value V) []byte {
	start := len(dst)
	dst = append(dst, name...)
	dst = append(dst, ':', ' ')
	dst = append(dst, value...)
	dst = guard(dst, start)
	return append(dst, '\r', '\n')
}

// AppendEnd appends the fields that hop asks for, and the line that ends a head.
func AppendEnd(dst []byte, hop Hop) []byte {
	if hop&HopChunked != 0 {
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case hop&HopClose != 0:
		dst = append(dst, "Connection: close\r\n"...)
	case hop&HopKeepAlive != 0:
		dst = append(dst, "Connection: keep-alive\r\n"...)
	case hop&HopTE != 0 && hop&HopUpgrade != 0:
		dst = append(dst, "Connection: TE, Upgrade\r\n"...)
	case hop&HopTE != 0:
		dst = append(dst, "Connection: TE\r\n"...)
	case hop&HopUpgrade != 0:
		dst = append(dst, "Connection: Upgrade\r\n"...)
	}
	return append(dst, '\r', '\n')
}

// AppendChunk appends data as one chunk; no data, no chunk.
func AppendChunk(dst, data []byte) []byte {
	if len(data) == 0 {
		return dst
	}
	dst = AppendChunkSize(dst, len(data))
	dst = append(dst, data...)
	return append(dst, '\r', '\n')
}

// AppendChunkSize appends the line before n > 0 bytes of data, which are written apart, and CR LF after them.
func AppendChunkSize(dst []byte, n int) []byte {
	if n <= 0 {
		panic("h2tp: bug: http1: a chunk without data ends the body")
	}
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, '\r', '\n')
}

// AppendLastChunk ends a chunked body.
func AppendLastChunk(dst []byte, trailers []Field) []byte {
	dst = append(dst, '0', '\r', '\n')
	dst = AppendFields(dst, trailers)
	return append(dst, '\r', '\n')
}

// guard makes spaces of control bytes from start on. Whatever made a field says that it has none; here is
// where one would become a second field or a second message, so nothing depends on its word.
func guard(dst []byte, start int) []byte {
	for i := indexCtl(dst, start); i < len(dst); i = indexCtl(dst, i+1) {
		dst[i] = ' '
	}
	return dst
}
