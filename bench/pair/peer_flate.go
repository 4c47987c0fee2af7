package main

import (
	"bufio"
	"compress/flate"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"sync"
)

// The reference hop: HTTP/1.1 text as it came, each message preceded by its length
// and a number, in one stream of compress/flate at its default level a direction,
// flushed when no more messages wait. It knows nothing of errors: its messages
// are those of a corpus.

type flateMessage struct {
	id   uint32
	text []byte
}

func flateWrite(nc net.Conn, c <-chan flateMessage) {
	out := bufio.NewWriterSize(nc, 64<<10)
	fw, _ := flate.NewWriter(out, flate.DefaultCompression)
	for m := range c {
		runtime.Gosched() // callers about to send join the batch
		for more := true; more; {
			head := binary.BigEndian.AppendUint32(nil, m.id)
			fw.Write(binary.BigEndian.AppendUint32(head, uint32(len(m.text))))
			fw.Write(m.text)
			select {
			case m = <-c:
			default:
				more = false
			}
		}
		if fw.Flush() != nil || out.Flush() != nil {
			return
		}
	}
}

func flateRead(nc net.Conn, take func(flateMessage)) error {
	fr := flate.NewReader(bufio.NewReaderSize(nc, 64<<10))
	for {
		var head [8]byte
		if _, err := io.ReadFull(fr, head[:]); err != nil {
			return err
		}
		m := flateMessage{binary.BigEndian.Uint32(head[:]), make([]byte, binary.BigEndian.Uint32(head[4:]))}
		if _, err := io.ReadFull(fr, m.text); err != nil {
			return err
		}
		take(m)
	}
}

// runFlateFront: flate-front LISTEN TO [CA]
func runFlateFront(args []string) error {
	hop, err := dialHop(args[1:])
	if err != nil {
		return err
	}
	out := make(chan flateMessage, 8192)
	go flateWrite(hop, out)
	var clients sync.Map // chan []byte by number
	go serveEach(args[0], func(id uint32, nc net.Conn) {
		in := make(chan []byte, 1)
		clients.Store(id, in)
		for c := newConn(nc); ; {
			text, err := c.message()
			if err != nil {
				return
			}
			out <- flateMessage{id, text}
			if _, err := nc.Write(<-in); err != nil {
				return
			}
		}
	})
	return flateRead(hop, func(m flateMessage) {
		in, _ := clients.Load(m.id)
		in.(chan []byte) <- m.text
	})
}

// runFlateBack: flate-back LISTEN UPSTREAM [CERT KEY]
func runFlateBack(args []string) error {
	return serveHop(args[0], args[2:], func(hop net.Conn) {
		out := make(chan flateMessage, 8192)
		go flateWrite(hop, out)
		idle := make(chan *conn, 8192)
		flateRead(hop, func(m flateMessage) {
			go func() {
				out <- flateMessage{m.id, callUpstream(args[1], idle, m.text)}
			}()
		})
	})
}
