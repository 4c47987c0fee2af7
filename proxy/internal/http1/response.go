package http1

// ResponseHead is a parsed response head. Its slices are parts of the input and die with it. The
// zero value is ready; used again, it allocates nothing. Not for concurrent use.
type ResponseHead struct {
	Status int    // 100 to 999
	Reason []byte // may be empty, which is not the same as the standard phrase
	Minor  int    // 0 or 1

	// Fields are the end-to-end fields in order. Content-Length is among them, in its place, once, save
	// where it must not be (1xx, 204).
	Fields []Field

	ContentLength int64 // -1 is none; of a body only if BodyMode says so
	Chunked       bool
	Close         bool   // the connection must not be used again; one whose body is BodyUntilClose cannot
	Upgrade       []byte // the protocols named, when Connection says so too; else nil

	named   [][]byte
	scanned int // bytes of an unfinished head that hold no end
}

// Reset forgets everything, and lets go of the input.
func (h *ResponseHead) Reset() {
	clear(h.Fields[:cap(h.Fields)])
	clear(h.named[:cap(h.named)])
	*h = ResponseHead{Fields: h.Fields[:0], named: h.named[:0]}
}

// ParseResponseHead is ParseRequestHead for responses. The status of its errors is 502.
func ParseResponseHead(p []byte, h *ResponseHead, lim Limits) (n int, err error) {
	lim = lim.withDefaults()
	over := len(p) > lim.Head
	if over {
		p = p[:lim.Head]
	}
	if h.scanned > 0 && !over && !mayEnd(p, h.scanned) {
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
	h.scanned = 0
	if e != nil {
		return 0, inResponse(e)
	}
	return n, nil
}

func (h *ResponseHead) parse(p []byte, lim Limits) (int, *Error) {
	i, e := h.statusLine(p)
	if i == 0 || e != nil {
		return 0, e
	}

	s := scan{lim: lim, minor: h.Minor, fields: h.Fields[:0], named: h.named[:0]}
	n, e := s.run(p, i)
	h.Fields, h.named = s.fields, s.named
	if n == 0 || e != nil {
		return 0, e
	}
	h.ContentLength, h.Chunked = s.length, s.codings > 0
	h.Close, h.Upgrade = s.close, s.upgrade
	if h.Status < 200 || h.Status == 204 {
		h.forgetBody()
	}
	return n, nil
}

// forgetBody is for responses that never have a body but may describe one, against RFC 9110 8.6 and
// RFC 9112 6.1. Should one follow, it must not be read as the next response.
func (h *ResponseHead) forgetBody() {
	if h.Chunked || h.ContentLength > 0 {
		h.Close = true
	}
	if h.ContentLength >= 0 {
		kept := h.Fields[:0]
		for _, f := range h.Fields {
			if nameOf(f.Name) != nameContentLength {
				kept = append(kept, f)
			}
		}
		h.Fields = kept
	}
	h.ContentLength, h.Chunked = -1, false
}

// statusLine returns the index behind the line, 0 when p ends before.
func (h *ResponseHead) statusLine(p []byte) (int, *Error) {
	const version = "HTTP/1."
	if k := min(len(p), len(version)); string(p[:k]) != version[:k] {
		return 0, errStatusLine
	}
	const shortest = len("HTTP/1.1 200\r\n")
	if len(p) < shortest {
		return 0, nil
	}
	if !isDigit(p[7]) || p[8] != ' ' || p[9] == '0' || !isDigit(p[9]) || !isDigit(p[10]) || !isDigit(p[11]) {
		return 0, errStatusLine
	}
	h.Minor = min(int(p[7]-'0'), 1)
	h.Status = int(p[9]-'0')*100 + int(p[10]-'0')*10 + int(p[11]-'0')
	h.scanned = len(p)
	i := 12
	switch p[i] { // the space before an empty phrase is often left out
	case ' ':
		i++
	case '\r':
	default:
		return 0, errStatusLine
	}
	end := indexCtl(p, i)
	switch {
	case end == len(p):
		return 0, nil
	case p[end] == '\n':
		return 0, errBareLF
	case p[end] != '\r':
		return 0, errStatusLine
	case end+1 == len(p):
		return 0, nil
	case p[end+1] != '\n':
		return 0, errBareCR
	}
	h.Reason = p[i:end:end]
	return end + 2, nil
}

// BodyMode is how a response's body ends.
type BodyMode uint8

const (
	BodyNone       BodyMode = iota // there is none, whatever the fields say
	BodyLength                     // after ContentLength bytes, which may be 0
	BodyChunked                    // by itself
	BodyUntilClose                 // with the connection; cut short cannot be told from complete
)

// BodyMode tells how the body ends, by RFC 9112 6.3, given the method of the request.
func (h *ResponseHead) BodyMode(requestMethod []byte) BodyMode {
	switch {
	case h.Status < 200, h.Status == 204, h.Status == 304, string(requestMethod) == "HEAD":
		return BodyNone
	case h.Chunked:
		return BodyChunked
	case h.ContentLength >= 0:
		return BodyLength
	}
	return BodyUntilClose
}
