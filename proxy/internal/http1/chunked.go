package http1

// Chunked reads a chunked body (RFC 9112 7.1) as it comes. The zero value is ready for one body, with
// the default limits; Reset makes it ready for the next. Not for concurrent use.
type Chunked struct {
	// Trailers are the fields behind the last chunk, once Next is done, without those that must not be
	// there (framing, hop-by-hop). They live until Reset, apart from the input.
	Trailers []Field

	lim   Limits
	state chunkState
	left  int64 // of the size being read, then of the chunk's data
	size  int   // digits read
	ext   int   // bytes of this chunk's extensions
	exts  int64 // bytes of all extensions beyond what data and extCredit allow
	buf   []byte
	at    int // bytes of buf that hold no end
}

// chunkState is what the next byte belongs to.
type chunkState uint8

const (
	inSize     chunkState = iota // digits; ';', space or CR ends them
	inSpace                      // spaces before ';' (RFC 9112 7.1.1 calls them bad)
	inExt                        // until CR
	inSizeEnd                    // the LF; a size of 0 leads to the trailers
	inData                       // until left is 0
	inDataCR                     // the CR behind data
	inDataLF                     // and its LF, then a size again
	inTrailers                   // collected whole in buf, as a head is, until an empty line
	isDone
)

// Reset makes c ready for another body.
func (c *Chunked) Reset(lim Limits) {
	clear(c.Trailers[:cap(c.Trailers)])
	*c = Chunked{Trailers: c.Trailers[:0], lim: lim, buf: c.buf[:0]}
}

// Next reads on in p: used bytes are taken, and data, a part of p, is the next part of the body. Call it until
// done, or until used is len(p) with no data: then more bytes are needed. If the input ends before
// done, the body was cut short. Errors are *Error, and final.
func (c *Chunked) Next(p []byte) (used int, data []byte, done bool, err error) {
	i := 0
	for i < len(p) && c.state != isDone {
		switch c.state {
		case inData:
			n := len(p) - i
			if int64(n) >= c.left {
				n = int(c.left)
				c.state = inDataCR
			}
			c.left -= int64(n)
			return i + n, p[i : i+n : i+n], false, nil
		case inTrailers:
			n, e := c.trailers(p[i:])
			if e != nil {
				return i, nil, false, e
			}
			i += n
		default:
			if e := c.step(p[i]); e != nil {
				return i, nil, false, e
			}
			i++
		}
	}
	return i, nil, c.state == isDone, nil
}

// step takes one byte of what stands around the data.
func (c *Chunked) step(b byte) *Error {
	switch c.state {
	case inSize:
		return c.digit(b)
	case inSpace, inExt:
		return c.extension(b)
	case inSizeEnd:
		if b != '\n' {
			return errBareCR
		}
		c.state = inData
		if c.left == 0 {
			c.state = inTrailers
		}
		c.exts = max(c.exts-c.left, 0)
		c.size, c.ext = 0, 0
	case inDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = inDataLF
	case inDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.state = inSize
	}
	return nil
}

func (c *Chunked) digit(b byte) *Error {
	switch {
	case isDigit(b):
		b -= '0'
	case isHex(b):
		b = b | 0x20 - 'a' + 10
	case c.size == 0:
		return errChunkSize
	default:
		c.state = inSpace
		return c.extension(b)
	}
	if c.size++; c.size > 16 || c.left >= 1<<58 {
		return errChunkBig // the next digit, or one more leading zero, is one too many
	}
	c.left = c.left<<4 | int64(b)
	return nil
}

// extension skips what nobody uses, within a bound for a chunk, and for the body one that grows with its data: small
// chunks with large extensions cost much to carry little.
func (c *Chunked) extension(b byte) *Error {
	switch {
	case b == '\r':
		if c.state == inSpace && c.ext > 0 {
			return errChunkSize
		}
		c.state = inSizeEnd
		return nil
	case b == '\n':
		return errBareLF
	case c.state == inSpace && b == ';':
		c.state = inExt
	case c.state == inSpace && !isSpace(b):
		return errChunkSize
	case b < ' ' && b != '\t' || b == 0x7f:
		return errChunkExt
	}
	c.ext++
	c.exts++
	if c.ext > maxExt || c.exts > extCredit {
		return errChunkExt
	}
	return nil
}

// trailers takes bytes up to the empty line that ends the body.
func (c *Chunked) trailers(p []byte) (used int, e *Error) {
	lim := c.lim.withDefaults()
	before := len(c.buf)
	if before == 0 && len(p) >= 2 && p[0] == '\r' && p[1] == '\n' {
		c.state = isDone // nearly always
		return 2, nil
	}
	over := len(p) > lim.Head-before
	if over {
		p = p[:lim.Head-before]
	}
	c.buf = append(c.buf, p...)
	from := c.at
	c.at = len(c.buf)
	if !over && !mayEnd(c.buf, from) {
		return len(p), nil
	}
	s := scan{lim: lim, trailer: true, fields: c.Trailers[:0]}
	n, e := s.lines(c.buf, 0)
	c.Trailers = s.fields
	switch {
	case e != nil:
		return 0, e
	case n > 0:
		c.state = isDone
		return n - before, nil
	case over:
		return 0, errHead
	}
	return len(p), nil
}
