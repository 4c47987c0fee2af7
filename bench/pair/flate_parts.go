package main

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"slices"
	"sync/atomic"
)

// What the reference hop needs of HTTP/1.1 and of sockets.

// message reads a whole message and returns a copy of it, as it came.
func (c *conn) message() ([]byte, error) {
	head, err := c.head()
	if err != nil {
		return nil, err
	}
	text := slices.Clone(head)
	length, isChunked, err := framing(text)
	if err != nil {
		return nil, err
	}
	body, err := c.rest(length, isChunked)
	return append(text, body...), err
}

// callUpstream sends a request on a connection that is idle, or on a new one.
func callUpstream(addr string, idle chan *conn, request []byte) []byte {
	var c *conn
	select {
	case c = <-idle:
	default:
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return badGateway
		}
		c = newConn(nc)
	}
	if _, err := c.nc.Write(request); err != nil {
		return badGateway
	}
	text, err := c.message()
	if err != nil {
		return badGateway
	}
	idle <- c
	return text
}

var badGateway = []byte("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")

// dialHop: TO [CA]
func dialHop(args []string) (net.Conn, error) {
	if len(args) == 1 {
		return net.Dial("tcp", args[0])
	}
	pem, err := os.ReadFile(args[1])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return tls.Dial("tcp", args[0], &tls.Config{RootCAs: roots, ServerName: "localhost"})
}

// serveHop: pair is none, or a certificate and its key.
func serveHop(addr string, pair []string, serve func(net.Conn)) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if len(pair) == 2 {
		cert, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			return err
		}
		ln = tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{cert}})
	}
	for {
		nc, err := ln.Accept()
		if err != nil {
			return err
		}
		go serve(nc)
	}
}

// serveEach numbers the connections it accepts.
func serveEach(addr string, serve func(id uint32, nc net.Conn)) error {
	var last atomic.Uint32
	return serveHop(addr, nil, func(nc net.Conn) {
		defer nc.Close()
		serve(last.Add(1), nc)
	})
}
