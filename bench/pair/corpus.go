package main

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
)

// A corpus is exchanges as bytes, each different from the others: the same ones
// in every process that makes it. The client walks it in order, so that no message
// comes again before corpusBytes of others, more than any codec's window.
type corpus struct {
	exchanges []exchange
	index     map[string]int // of the exchange with a key
}

type exchange struct {
	request, response []byte
	body              []byte // of the response
}

const corpusBytes = 12 << 20

// maker writes one exchange: the request and the response without their
// Content-Length, and the key by which the upstream knows the request.
type maker func(g *gen) (key string, request, requestBody, response, responseBody []byte)

var makers = map[string]maker{"tiny": makeTiny, "items": makeItems, "rtb": makeRTB}

func newCorpus(name string, total int) *corpus {
	g := newGen(name)
	c := &corpus{index: make(map[string]int)}
	for size := 0; size < total; {
		key, reqHead, reqBody, respHead, respBody := makers[name](g)
		e := exchange{request: message(reqHead, reqBody), response: message(respHead, respBody)}
		e.body = e.response[len(e.response)-len(respBody):]
		c.index[key] = len(c.exchanges)
		c.exchanges = append(c.exchanges, e)
		size += len(e.request) + len(e.response)
	}
	return c
}

// message ends a head and appends the body. A nil body is none, without a length.
func message(head, body []byte) []byte {
	if body != nil {
		head = fmt.Appendf(head, "Content-Length: %d\r\n", len(body))
	}
	return append(append(head, "\r\n"...), body...)
}

// keyOf is the key of a request: an OpenRTB one's id, any other's target.
func keyOf(target, body []byte) []byte {
	const id = `{"id":"`
	if bytes.HasPrefix(body, []byte(id)) && len(body) > len(id)+36 {
		return body[len(id) : len(id)+36]
	}
	return target
}

// gen makes random parts of messages from a seed.
type gen struct {
	*rand.Rand
	sessions []string // bearer tokens: clients keep theirs
	serial   int
}

func newGen(name string) *gen {
	var seed [32]byte
	copy(seed[:], "h2tp pair "+name)
	g := &gen{Rand: rand.New(rand.NewChaCha8(seed))}
	for range 500 {
		g.sessions = append(g.sessions, g.base64(30))
	}
	return g
}

func (g *gen) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g *gen) hex(n int) string    { return hex.EncodeToString(g.bytes(n)) }
func (g *gen) base64(n int) string { return base64.RawURLEncoding.EncodeToString(g.bytes(n)) }

func (g *gen) uuid() string {
	b := g.bytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	s := hex.EncodeToString(b)
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}

func (g *gen) pick(from []string) string { return from[g.IntN(len(from))] }

func (g *gen) words(n int) string {
	var b strings.Builder
	for i := range n {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(g.pick(words))
	}
	return b.String()
}

// millis is a time of day that goes on from message to message.
func (g *gen) millis() int64 {
	g.serial += g.IntN(5)
	return 1_767_225_600_000 + int64(g.serial)
}

// runCorpus writes requests or responses to standard output: pair corpus tiny responses 1000
func runCorpus(args []string) error {
	if len(args) != 3 || makers[args[0]] == nil {
		return fmt.Errorf("usage: corpus NAME requests|responses COUNT")
	}
	var n int
	if _, err := fmt.Sscan(args[2], &n); err != nil {
		return err
	}
	_, err := os.Stdout.Write(newCorpus(args[0], corpusBytes).text(args[1] == "requests", n))
	return err
}

// text is the first n requests or responses, one after the other.
func (c *corpus) text(isRequests bool, n int) []byte {
	var b []byte
	for _, e := range c.exchanges[:min(n, len(c.exchanges))] {
		if isRequests {
			b = append(b, e.request...)
		} else {
			b = append(b, e.response...)
		}
	}
	return b
}
