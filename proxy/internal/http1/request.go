package http1

import "bytes"

// RequestHead is a parsed request head. Its slices are parts of the input and die with it. The zero
// value is ready; used again, it allocates nothing. Not for concurrent use.
type RequestHead struct {
	Method []byte
	Target []byte // as sent: origin-form, absolute-form, or "*"
	// Authority is that of an absolute-form target, else Host's value (RFC 9112 3.2.2); empty when
	// an HTTP/1.0 client named none.
	Authority []byte
	Minor     int // 0 or 1: HTTP/1.2 and up are read as HTTP/1.1

	// Fields are the end-to-end fields in order. Content-Length is among them, in its place, once.
	Fields []Field

	ContentLength  int64  // -1 is none; with Chunked false there is no body then
	Chunked        bool   // the body ends by itself
	Close          bool   // the connection must end after this exchange
	KeepAlive10    bool   // an HTTP/1.0 client asks to keep the connection: the response must say so too
	ExpectContinue bool   // the client may wait for 100 before it sends the body
	Upgrade        []byte // the protocols asked for, as one list, when Connection says so too; else nil
	TETrailers     bool   // the client reads trailers

	named    [][]byte
	scanned  int  // bytes of an unfinished head that hold no end
	lineDone bool // they hold the whole request line
}

// Reset forgets everything, and lets go of the input.
func (h *RequestHead) Reset() {
	clear(h.Fields[:cap(h.Fields)])
	clear(h.named[:cap(h.named)])
	*h = RequestHead{Fields: h.Fields[:0], named: h.named[:0]}
}

// ParseRequestHead parses the head at the start of p, and returns its length; the body follows. With n = 0 and
// no error the head is not complete: call again with the same bytes and more. What was searched is
// remembered in h, so that a slow sender costs no more than a fast one; a fault in fields that come in
// pieces may be found only at the end of the head. Errors are *Error.
func ParseRequestHead(p []byte, h *RequestHead, lim Limits) (n int, err error) {
	lim = lim.withDefaults()
	over := len(p) > lim.Head
	if over {
		p = p[:lim.Head]
	}
	if h.scanned > 0 && !over && !h.mayDecide(p, lim) {
		h.scanned = len(p)
		return 0, nil
	}
	n, e := h.parse(p, lim)
	switch {
	case e != nil:
	case n > 0:
	case over:
		e = errHead
	default:
		return 0, nil
	}
	h.scanned, h.lineDone = 0, false
	if e != nil {
		return 0, e
	}
	return n, nil
}

// mayDecide tells whether parsing p, of which the first h.scanned bytes decided nothing, may now give a result.
func (h *RequestHead) mayDecide(p []byte, lim Limits) bool {
	if h.lineDone {
		return mayEnd(p, h.scanned)
	}
	return len(p) > lim.Line+maxLeading+maxMethod || bytes.IndexByte(p[h.scanned:], '\n') >= 0
}

func (h *RequestHead) parse(p []byte, lim Limits) (int, *Error) {
	i, e := skipEmptyLines(p)
	if e != nil || i == len(p) {
		return 0, e
	}
	i, e = h.requestLine(p, i, lim.Line)
	if e != nil {
		return 0, e
	}
	if i == 0 {
		return 0, nil
	}
	h.scanned, h.lineDone = len(p), true

	s := scan{lim: lim, request: true, minor: h.Minor, fields: h.Fields[:0], named: h.named[:0]}
	n, e := s.run(p, i)
	h.Fields, h.named = s.fields, s.named
	if n == 0 || e != nil {
		return 0, e
	}
	h.ContentLength, h.Chunked = s.length, s.codings > 0
	h.Close, h.KeepAlive10 = s.close, h.Minor == 0 && !s.close
	h.ExpectContinue, h.Upgrade, h.TETrailers = s.expects, s.upgrade, s.teTrailers
	return n, h.authority(&s)
}

// skipEmptyLines allows for clients that end a body with a line end too many (RFC 9112 2.2).
func skipEmptyLines(p []byte) (int, *Error) {
	i := 0
	for i < len(p) && p[i] == '\r' {
		switch {
		case i >= maxLeading:
			return 0, errLeading
		case i+1 == len(p):
			return len(p), nil
		case p[i+1] != '\n':
			return 0, errBareCR
		}
		i += 2
	}
	if i < len(p) && p[i] == '\n' {
		return 0, errBareLF
	}
	return i, nil
}

// requestLine returns the index behind the line, 0 when p ends before. Bytes that cannot be a request are refused
// at the first of them, since their sender may never send an end of line.
func (h *RequestHead) requestLine(p []byte, i int, limit int) (int, *Error) {
	j := tokenEnd(p[:min(len(p), i+maxMethod+1)], i)
	switch {
	case j-i > maxMethod:
		return 0, errMethodLong
	case j == len(p):
		return 0, nil
	case j == i && p[i] == 0x16:
		return 0, errTLS
	case j == i || p[j] != ' ':
		return 0, errMethod
	}
	h.Method = p[i:j:j]
	switch string(h.Method) {
	case "PRI":
		return 0, errPreface
	case "CONNECT":
		return 0, errConnect
	}
	h.scanned = len(p)

	i = j + 1
	j = indexBelow(p, i, 0x21)
	switch {
	case j-i > limit:
		return 0, errTargetLong
	case j == len(p):
		return 0, nil
	case p[j] != ' ' || j == i:
		return 0, errRequestLine
	}
	h.Target = p[i:j:j]

	i = j + 1
	const version = "HTTP/1.1\r\n"
	if len(p)-i < len(version) {
		if bytes.IndexByte(p[i:], '\n') >= 0 {
			return 0, errRequestLine
		}
		return 0, nil
	}
	v := p[i : i+len(version)]
	switch {
	case string(v) == version:
		h.Minor = 1
	case string(v[:5]) != "HTTP/" || !isDigit(v[5]) || v[6] != '.' || !isDigit(v[7]) || string(v[8:]) != "\r\n":
		return 0, errRequestLine
	case v[5] != '1':
		return 0, errVersion
	default:
		h.Minor = min(int(v[7]-'0'), 1)
	}
	return i + len(version), nil
}

// authority settles who the request is for (RFC 9112 3.2).
func (h *RequestHead) authority(s *scan) *Error {
	if s.hosts > 1 || s.hosts == 0 && h.Minor > 0 {
		return errHosts
	}
	// An empty Host is for targets without an authority, which http and https do not have (RFC 9110 4.2.1): to guess
	// one would let it mean different servers to different programs.
	if s.hosts > 0 && !isAuthority(s.host) {
		return errAuthority
	}
	h.Authority = s.host
	switch t := h.Target; {
	case t[0] == '/':
		return nil
	case t[0] == '*':
		if len(t) > 1 || string(h.Method) != "OPTIONS" {
			return errTarget
		}
		return nil
	case len(t) > 7 && isFold(t[:4], "http") && string(t[4:7]) == "://":
		h.Authority = t[7:]
	case len(t) > 8 && isFold(t[:5], "https") && string(t[5:8]) == "://":
		h.Authority = t[8:]
	default:
		return errTarget
	}
	for k, c := range h.Authority {
		if c == '/' || c == '?' || c == '#' {
			h.Authority = h.Authority[:k:k]
			break
		}
	}
	if !isAuthority(h.Authority) {
		return errAuthority
	}
	return nil
}

// isAuthority tells whether p is a host, not empty, and perhaps a port. User information is
// refused: it is a way to make one name look like another (RFC 9110 4.2.4).
func isAuthority(p []byte) bool {
	host := 0
	if len(p) > 0 && p[0] == '[' {
		for host = 1; host < len(p) && (isHex(p[host]) || p[host] == ':' || p[host] == '.'); host++ {
		}
		if host < 3 || host == len(p) || p[host] != ']' {
			return false
		}
		host++
	} else {
		for host < len(p) && isHost[p[host]] {
			host++
		}
		if host == 0 {
			return false
		}
	}
	if host == len(p) {
		return true
	}
	if p[host] != ':' || len(p)-host > len(":65535") {
		return false
	}
	port := 0
	for _, c := range p[host+1:] {
		if !isDigit(c) {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
