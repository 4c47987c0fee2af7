package accesslog

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/h2tp/h2tp/proxy"
)

// maxValue is how much is logged of what a client may make as long as it likes, besides the target.
const maxValue = 128

// target is the request's, without the query, and the fragment that some send, unless that is wanted.
func (c *Config) target(e *proxy.Exchange) []byte {
	if c.Query {
		return e.Target
	}
	if i := bytes.IndexAny(e.Target, "?#"); i >= 0 {
		return e.Target[:i]
	}
	return e.Target
}

// appendJSON appends a line of JSON.
func (c *Config) appendJSON(dst []byte, end string, e *proxy.Exchange) []byte {
	dst = append(dst, `{"time":"`...)
	dst = e.Began.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z07:00")
	dst = append(dst, '"')
	text := func(name string, v []byte) {
		if len(v) > 0 {
			dst = append(append(append(dst, `,"`...), name...), `":`...)
			dst = appendQuoted(dst, v)
		}
	}
	number := func(name string, v int64) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = strconv.AppendInt(dst, v, 10)
	}
	text("end", []byte(end))
	text("route", []byte(e.Route))
	text("client", e.Client)
	text("protocol", []byte(e.Protocol))
	text("method", e.Method)
	text("host", e.Authority)
	text("target", c.target(e))
	number("status", int64(e.Status))
	number("bytes", e.Bytes)
	seconds := func(name string, d time.Duration) {
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = strconv.AppendFloat(dst, d.Round(time.Microsecond).Seconds(), 'f', -1, 64)
	}
	seconds("seconds", e.Duration)
	if e.Queued > 0 {
		seconds("queue_seconds", e.Queued)
	}
	text("destination", []byte(e.Destination))
	if e.Took > 0 {
		seconds("destination_seconds", e.Took)
	}
	number("repeats", int64(e.Repeats))
	way := "batched"
	if e.IsBulk {
		way = "bulk"
	}
	text("way", []byte(way))
	text("failure", []byte(e.Failure))
	text("request_id", e.RequestID[:min(len(e.RequestID), maxValue)])
	text("traceparent", e.TraceParent[:min(len(e.TraceParent), maxValue)])
	return append(dst, "}\n"...)
}

const hexDigits = "0123456789abcdef"

// appendQuoted appends a JSON string of what may be any bytes.
func appendQuoted(dst, v []byte) []byte {
	dst = append(dst, '"')
	for len(v) > 0 {
		r, n := utf8.DecodeRune(v)
		switch {
		case r == utf8.RuneError && n == 1:
			dst = append(dst, `\ufffd`...)
		case r == '"' || r == '\\':
			dst = append(dst, '\\', v[0])
		case r < ' ' || r == 0x7f:
			dst = append(dst, `\u00`...)
			dst = append(dst, hexDigits[r>>4], hexDigits[r&15])
		default:
			dst = append(dst, v[:n]...)
		}
		v = v[n:]
	}
	return append(dst, '"')
}

// appendCommon appends a line of the common log format. Who a client is by name is not known.
func (c *Config) appendCommon(dst []byte, e *proxy.Exchange) []byte {
	if len(e.Client) == 0 {
		dst = append(dst, '-')
	}
	dst = append(append(dst, e.Client...), " - - ["...)
	dst = e.Began.AppendFormat(dst, "02/Jan/2006:15:04:05 -0700")
	dst = append(dst, `] "`...)
	dst = append(appendEscaped(dst, e.Method), ' ')
	dst = append(appendEscaped(dst, c.target(e)), ' ')
	protocol := e.Protocol
	if protocol == "" { // the fronts' clients' is not known
		protocol = "HTTP/1.1"
	}
	dst = append(append(dst, protocol...), `" `...)
	dst = append(strconv.AppendInt(dst, int64(e.Status), 10), ' ')
	return append(strconv.AppendInt(dst, e.Bytes, 10), '\n')
}

// appendEscaped keeps quotes, and what is no text, from ending a field or a line.
func appendEscaped(dst, v []byte) []byte {
	for _, b := range v {
		if b == '"' || b == '\\' || b < ' ' || b >= 0x7f {
			dst = append(dst, '\\', 'x', hexDigits[b>>4], hexDigits[b&15])
		} else {
			dst = append(dst, b)
		}
	}
	return dst
}
