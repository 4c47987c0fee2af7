package proxy

import (
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// fill makes the exchange's request; a status other than 0 refuses it. What net/http has parsed is written again as HTTP/1.1 and
// parsed as that, so that whatever is refused there, or not passed on, is not here either.
func (c *webCall) fill(r *http.Request) int {
	b, ok := appendWebHead(nil, r)
	if !ok {
		return 400
	}
	if !c.hold(int64(len(b))) {
		return 503
	}
	h := &c.parsed
	n, err := http1.ParseRequestHead(b, h, c.f.lim)
	if he, ok := errors.AsType[*http1.Error](err); ok {
		return he.Status
	}
	isAbsolute := h.Target[0] != '/' && h.Target[0] != '*'
	switch {
	case n != len(b):
		return 400
	case r.ProtoMajor > 1 && isAbsolute: // RFC 9113 8.3.1: :authority says it, and routes go by that
		return 400
	case h.ContentLength >= 0 && h.ContentLength != r.ContentLength: // the stream ended with its head
		return 400
	case c.f.cfg.isOver(r.ContentLength):
		return 413
	}
	req := &c.req
	req.Method, req.Target, req.Authority = h.Method, h.Target, h.Authority
	from := c.f.cfg.originOf(addrOf(textAddr(r.RemoteAddr)), r.TLS != nil)
	c.addr, c.proto = from.addr, r.Proto
	req.Fields = c.edit.forwarded(h.Fields, &from, req.Authority, &c.f.cfg.Entry)
	var isNew bool
	if req.Fields, isNew = c.edit.via(req.Fields, strconv.Itoa(r.ProtoMajor)+"."+strconv.Itoa(r.ProtoMinor)+" ", c.f.route.via); !isNew {
		return 508
	}
	if h.TETrailers {
		req.Fields = append(req.Fields, wire.Field{Name: nameTE, Value: valueTE})
	}
	return c.fillBody(r)
}

// appendWebHead appends the head of a request as HTTP/1.1 writes it; false for one that would read otherwise then.
func appendWebHead(dst []byte, r *http.Request) ([]byte, bool) {
	dst = http1.AppendRequestLine(dst, []byte(r.Method), []byte(r.RequestURI), []byte(r.Host))
	dst, ok := appendWebFields(dst, r.Header, r.Host)
	if len(r.Trailer) > 0 { // net/http has taken it out
		dst = http1.AppendField(dst, "Trailer", strings.Join(slices.Sorted(maps.Keys(r.Trailer)), ", "))
	}
	return http1.AppendEnd(dst, 0), ok
}

// appendWebFields appends fields or trailers; host is what a Host among them may say once more.
func appendWebFields(dst []byte, h http.Header, host string) (all []byte, ok bool) {
	for _, name := range slices.Sorted(maps.Keys(h)) { // net/http has lost the order
		for _, value := range h[name] {
			if strings.Trim(value, " \t") != value { // RFC 9113 8.2.1
				return dst, false
			}
			if name != "Host" || !strings.EqualFold(value, host) {
				dst = http1.AppendField(dst, name, value)
			}
		}
	}
	return dst, true
}

// textAddr is an address as net/http tells it.
type textAddr string

func (a textAddr) Network() string { return "" }
func (a textAddr) String() string  { return string(a) }

// fillBody takes a small body whole, and leaves any other to be streamed. Whether there is one, net/http says by the length alone.
func (c *webCall) fillBody(r *http.Request) int {
	req := &c.req
	req.RawBody = isCompressed(req.Fields)
	switch {
	case r.ContentLength == 0 && c.parsed.ContentLength < 0:
		return 0
	case r.ContentLength < 0 || r.ContentLength > int64(c.f.cfg.BatchLimit) || len(r.Trailer) > 0:
		req.BodyKind = wire.BodyFollows
		return 0
	}
	if !c.hold(r.ContentLength) {
		return 503
	}
	if c.f.cfg.ReadTimeout > 0 {
		c.rc.SetReadDeadline(time.Now().Add(c.f.cfg.ReadTimeout))
		defer c.rc.SetReadDeadline(time.Time{})
	}
	body := make([]byte, r.ContentLength)
	if _, err := io.ReadFull(r.Body, body); err != nil {
		if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
			return 408
		}
		return 400
	}
	req.BodyKind, req.Body = wire.BodyWhole, body
	return 0
}
