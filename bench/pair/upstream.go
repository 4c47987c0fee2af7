package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
)

// runUpstream answers the requests of corpora: upstream ADDRESS NAME,...
func runUpstream(args []string) error {
	if len(args) != 2 {
		return errors.New("usage: upstream ADDRESS CORPORA")
	}
	answers := make(map[string][]byte)
	for _, name := range list(args[1]) {
		c := newCorpus(name, corpusBytes)
		for key, i := range c.index {
			answers[key] = c.exchanges[i].response
		}
	}
	ln, err := net.Listen("tcp", args[0])
	if err != nil {
		return err
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go serveUpstream(nc, answers)
	}
}

func serveUpstream(nc net.Conn, answers map[string][]byte) {
	defer nc.Close()
	c := newConn(nc)
	var target []byte
	for {
		head, err := c.head()
		if err != nil {
			return
		}
		_, line, _ := bytes.Cut(head, []byte(" "))
		line, _, _ = bytes.Cut(line, []byte(" "))
		target = append(target[:0], line...)
		length, isChunked, err := framing(head)
		if err != nil {
			return
		}
		body, err := c.rest(length, isChunked)
		if err != nil {
			return
		}
		answer, ok := answers[string(keyOf(target, body))]
		if !ok {
			answer = fmt.Appendf(nil, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
		}
		if _, err := nc.Write(answer); err != nil {
			return
		}
	}
}
