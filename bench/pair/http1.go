package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strconv"
)

// A conn reads HTTP/1.1 messages from well-meaning peers, with as little work as
// that takes: what the client and the upstream of a measurement cost is time that
// the proxies between them do not get.
type conn struct {
	nc   net.Conn
	buf  []byte
	r, w int
	body []byte
}

func newConn(nc net.Conn) *conn { return &conn{nc: nc, buf: make([]byte, 4<<10)} }

func (c *conn) fill() error {
	if c.r == c.w {
		c.r, c.w = 0, 0
	}
	if c.w == len(c.buf) {
		if c.r == 0 {
			c.buf = append(c.buf, make([]byte, len(c.buf))...)
		}
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return err
}

// head returns the next head, with its last empty line, valid until the next call.
func (c *conn) head() ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte("\r\n\r\n")); i >= 0 {
			head := c.buf[c.r : c.r+i+4]
			c.r += i + 4
			return head, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

// field returns a field's value, nil when there is none.
func field(head []byte, name string) []byte {
	for {
		i := bytes.IndexByte(head, '\n')
		if i < 0 || len(head) < i+1+len(name) {
			return nil
		}
		head = head[i+1:]
		if len(head) > len(name) && head[len(name)] == ':' && bytes.EqualFold(head[:len(name)], []byte(name)) {
			value, _, _ := bytes.Cut(head[len(name)+1:], []byte("\r\n"))
			return bytes.TrimSpace(value)
		}
	}
}

// framing is how a body's end is known.
func framing(head []byte) (length int, isChunked bool, err error) {
	if v := field(head, "Content-Length"); v != nil {
		length, err = strconv.Atoi(string(v))
		return length, false, err
	}
	return 0, field(head, "Transfer-Encoding") != nil, nil
}

// rest reads the body, valid until the next message. What framing returned it has
// to be called with, since the head is gone once it reads.
func (c *conn) rest(length int, isChunked bool) ([]byte, error) {
	c.body = c.body[:0]
	if !isChunked {
		return c.take(length)
	}
	for {
		line, err := c.line()
		if err != nil {
			return nil, err
		}
		size, err := strconv.ParseUint(string(line), 16, 31)
		if err != nil {
			return nil, fmt.Errorf("chunk: %w", err)
		}
		if _, err := c.take(int(size)); err != nil {
			return nil, err
		}
		if line, err = c.line(); err != nil || len(line) != 0 {
			return nil, errors.Join(err, errors.New("chunk has no end"))
		}
		if size == 0 {
			return c.body, nil
		}
	}
}

// take appends n bytes to the body.
func (c *conn) take(n int) ([]byte, error) {
	for {
		m := min(n, c.w-c.r)
		c.body = append(c.body, c.buf[c.r:c.r+m]...)
		c.r += m
		if n -= m; n == 0 {
			return c.body, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *conn) line() ([]byte, error) {
	for {
		if i := bytes.Index(c.buf[c.r:c.w], []byte("\r\n")); i >= 0 {
			line := c.buf[c.r : c.r+i]
			c.r += i + 2
			return line, nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}
