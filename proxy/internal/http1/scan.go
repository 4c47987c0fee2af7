package http1

// scan goes through the field lines of a head once and collects what they say about this hop.
type scan struct {
	lim     Limits
	request bool
	trailer bool // neither framing nor expectations can stand here (RFC 9110 6.5.1)
	minor   int

	fields []Field
	named  [][]byte // fields that Connection names, beyond those taken out anyway

	host       []byte
	hosts      int
	length     int64 // -1 is none
	codings    int   // Transfer-Encoding lines
	upgrade    []byte
	close      bool
	keepAlive  bool
	upgrading  bool // Connection names Upgrade
	teTrailers bool
	expects    bool
}

// run parses from i, the start of the first field line, to the end of the head, and returns the index behind
// it, or 0 when p ends before.
func (s *scan) run(p []byte, i int) (int, *Error) {
	s.length = -1
	n, e := s.lines(p, i)
	if n == 0 || e != nil {
		return 0, e
	}
	if len(s.named) > 0 {
		s.dropNamed()
	}
	return n, s.finish()
}

// lines takes each line up to the empty one.
func (s *scan) lines(p []byte, i int) (int, *Error) {
	for count := 0; ; count++ {
		if i >= len(p) {
			return 0, nil
		}
		if p[i] == '\r' {
			if i+1 >= len(p) {
				return 0, nil
			}
			if p[i+1] != '\n' {
				return 0, errBareCR
			}
			return i + 2, nil
		}
		if count >= s.lim.Fields {
			return 0, errCount
		}
		name, value, next, e := fieldLine(p, i)
		if next == 0 || e != nil {
			return 0, e
		}
		if e := s.take(name, value); e != nil {
			return 0, e
		}
		i = next
	}
}

// fieldLine parses the line that starts at i; next is 0 when p ends before the line does.
func fieldLine(p []byte, i int) (name, value []byte, next int, e *Error) {
	j := tokenEnd(p, i)
	if j-i > maxName {
		return nil, nil, 0, errNameLong
	}
	if j == len(p) {
		return nil, nil, 0, nil
	}
	if p[j] != ':' || j == i {
		return nil, nil, 0, nameError(p, i, j)
	}
	name = p[i:j:j]
	for j++; j < len(p) && isSpace(p[j]); j++ {
	}
	end := indexCtl(p, j)
	if end == len(p) {
		return nil, nil, 0, nil
	}
	if p[end] != '\r' {
		if p[end] == '\n' {
			return nil, nil, 0, errBareLF
		}
		return nil, nil, 0, errValue
	}
	if end+1 == len(p) {
		return nil, nil, 0, nil
	}
	if p[end+1] != '\n' {
		return nil, nil, 0, errBareCR
	}
	next = end + 2
	for end > j && isSpace(p[end-1]) {
		end--
	}
	return name, p[j:end:end], next, nil
}

func nameError(p []byte, i, j int) *Error {
	switch {
	case j == i && isSpace(p[i]):
		return errFold
	case p[j] == '\n':
		return errBareLF
	case j > i && isSpace(p[j]):
		return errSpaceColon
	}
	return errName
}

func (s *scan) take(name, value []byte) *Error {
	is := nameOf(name)
	if s.trailer && is != endToEnd {
		return nil
	}
	switch is {
	case nameContentLength:
		return s.contentLength(name, value)
	case nameExpect:
		if !s.request {
			break
		}
		if !isFold(value, "100-continue") {
			return errExpect
		}
		if s.minor == 0 {
			return nil // must be ignored (RFC 9110 10.1.1), also by those behind us
		}
		s.expects = true
	case nameHost:
		if s.request {
			s.host = value
			s.hosts++
		}
		return nil
	case nameConnection:
		return s.connection(value)
	case nameTransferEncoding:
		return s.transferEncoding(value)
	case nameTE:
		for len(value) > 0 {
			var member []byte
			member, value = element(value)
			s.teTrailers = s.teTrailers || isFold(member, "trailers")
		}
		return nil
	case nameUpgrade:
		if len(s.upgrade) == 0 {
			s.upgrade = value
		} else if len(value) > 0 { // one list on several lines: rare enough for a copy
			s.upgrade = append(append(s.upgrade, ", "...), value...)
		}
		return nil
	case nameOther:
		return nil
	}
	s.fields = append(s.fields, Field{Name: name, Value: value})
	return nil
}

// contentLength takes one number, and drops its leading zeros. A length given twice, on two lines or as a list, is refused
// even when it is the same: RFC 9112 6.3 lets a recipient take it, but one that reads only the first, or the
// last, or joins them differently would then be fooled by who wrote it so.
func (s *scan) contentLength(name, value []byte) *Error {
	number, rest := element(value)
	n, digits := parseLength(number)
	switch {
	case n < 0:
		return errLength
	case rest != nil || s.length >= 0:
		return errLengths
	}
	s.length = n
	s.fields = append(s.fields, Field{Name: name, Value: digits})
	return nil
}

// parseLength returns -1 for what is not a number of bytes, and the digits without leading zeros.
func parseLength(p []byte) (int64, []byte) {
	if len(p) == 0 {
		return -1, nil
	}
	for len(p) > 1 && p[0] == '0' {
		p = p[1:]
	}
	if len(p) > 18 { // 10^18 - 1 is enough, and does not overflow
		return -1, nil
	}
	n := int64(0)
	for _, c := range p {
		if !isDigit(c) {
			return -1, nil
		}
		n = n*10 + int64(c-'0')
	}
	return n, p
}

// transferEncoding accepts "chunked" alone. Everything else leaves the end of the body unknown to one who does not
// know the coding. RFC 9112 6.1 would have 501 for that; 400 is what all ambiguities get.
func (s *scan) transferEncoding(value []byte) *Error {
	s.codings++
	switch {
	case s.codings > 1:
		return errCoding
	case s.minor == 0:
		return errCoding10
	case !isFold(value, "chunked"):
		return errCoding
	}
	return nil
}

func (s *scan) connection(value []byte) *Error {
	for len(value) > 0 {
		var option []byte
		option, value = element(value)
		switch {
		case len(option) == 0:
		case isFold(option, "close"):
			s.close = true
		case isFold(option, "keep-alive"):
			s.keepAlive = true
		case isFold(option, "upgrade"):
			s.upgrading = true
		case nameOf(option) != endToEnd:
			// Taken out in any case, or never to be named away: framing and expectations.
		case len(s.named) == maxNamed:
			return errNamed
		default:
			s.named = append(s.named, option)
		}
	}
	return nil
}

func (s *scan) dropNamed() {
	kept := s.fields[:0]
	for _, f := range s.fields {
		if !s.isNamed(f.Name) {
			kept = append(kept, f)
		}
	}
	s.fields = kept
}

func (s *scan) isNamed(name []byte) bool {
	for _, n := range s.named {
		if len(n) == len(name) && equalFold(n, name) {
			return true
		}
	}
	return false
}

// finish checks what only the whole head can tell.
func (s *scan) finish() *Error {
	if s.codings > 0 && s.length >= 0 {
		return errBoth
	}
	if s.minor == 0 || !s.upgrading {
		s.upgrade = nil // RFC 9110 7.8
	}
	if s.minor == 0 && !s.keepAlive {
		s.close = true
	}
	return nil
}
