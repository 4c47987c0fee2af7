package main

import (
	"bytes"
	"net"
	"strings"
	"testing"
)

func TestCorporaAreTheSameInEveryProcess(t *testing.T) {
	for name := range makers {
		a, b := newCorpus(name, 1<<20), newCorpus(name, 1<<20)
		for _, isRequests := range []bool{true, false} {
			if !bytes.Equal(a.text(isRequests, 1e6), b.text(isRequests, 1e6)) {
				t.Errorf("%s: made twice, the messages differ", name)
			}
		}
	}
}

func TestNoMessageComesTwice(t *testing.T) {
	for name := range makers {
		c := newCorpus(name, 1<<20)
		if len(c.index) != len(c.exchanges) {
			t.Errorf("%s: %d keys for %d exchanges", name, len(c.index), len(c.exchanges))
		}
		seen := make(map[string]bool)
		empty := 0
		for _, e := range c.exchanges {
			seen[string(e.request)] = true
			seen[string(e.response)] = true
			if len(e.body) == 0 {
				empty++ // bids that are not made say nothing of their own
			}
		}
		if len(seen) < 2*len(c.exchanges)-empty {
			t.Errorf("%s: %d different messages in %d exchanges", name, len(seen), len(c.exchanges))
		}
	}
}

func TestItemsAreOfHalfToEightKilobytes(t *testing.T) {
	sum, c := 0, newCorpus("items", 2<<20)
	for _, e := range c.exchanges {
		if len(e.body) < 300 || len(e.body) > 8400 {
			t.Fatalf("a body of %d bytes", len(e.body))
		}
		sum += len(e.body)
	}
	if mean := sum / len(c.exchanges); mean < 3000 || mean > 4200 {
		t.Errorf("%d bytes on average", mean)
	}
}

// TestUpstreamKnowsEveryRequest goes through all corpora over one connection, the
// client's way of reading against the upstream's.
func TestUpstreamKnowsEveryRequest(t *testing.T) {
	near, far := net.Pipe()
	defer near.Close()
	answers := make(map[string][]byte)
	for name := range makers {
		c := newCorpus(name, 1<<20)
		for key, i := range c.index {
			answers[key] = c.exchanges[i].response
		}
	}
	go serveUpstream(far, answers)
	cn := newConn(near)
	for name := range makers {
		c := newCorpus(name, 1<<20)
		c.exchanges = c.exchanges[:200]
		l := &load{corpus: c}
		for range c.exchanges {
			if err := l.exchange(&cn); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestMessagesAreReadHoweverTheyCome(t *testing.T) {
	const text = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello" +
		"HTTP/1.1 200 OK\r\nX: Content-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" +
		"HTTP/1.1 204 No Content\r\n\r\n"
	for size := 1; size <= len(text); size++ {
		near, far := net.Pipe()
		go func() {
			defer far.Close()
			for i := 0; i < len(text); i += size {
				far.Write([]byte(text[i:min(i+size, len(text))]))
			}
		}()
		c := newConn(near)
		var got []string
		for range 3 {
			head, err := c.head()
			if err != nil {
				t.Fatal(err)
			}
			length, isChunked, err := framing(head)
			if err != nil {
				t.Fatal(err)
			}
			body, err := c.rest(length, isChunked)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, string(body))
		}
		if s := strings.Join(got, "|"); s != "hello|abcde|" {
			t.Fatalf("in pieces of %d: got %q", size, s)
		}
		near.Close()
	}
}

func TestFlateHopKeepsMessages(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	out := make(chan flateMessage, 8)
	in := make(chan flateMessage, 8)
	go flateWrite(near, out)
	go flateRead(far, func(m flateMessage) { in <- m })
	c := newCorpus("rtb", 2<<20)
	for i, e := range c.exchanges[:500] {
		out <- flateMessage{uint32(i), e.request}
		if m := <-in; m.id != uint32(i) || !bytes.Equal(m.text, e.request) {
			t.Fatalf("message %d came as %d: %q", i, m.id, m.text)
		}
	}
}
