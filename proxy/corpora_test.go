package proxy

import (
	"bytes"
	"compress/flate"
	"flag"
	"fmt"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

var exchanges = flag.Int("exchanges", 200, "exchanges of each corpus that BenchmarkCorpora sends")

// BenchmarkCorpora sends the exchanges of bench/pair's corpora through encoder and codec, without
// sockets, in batches of a fixed size, and reports the bytes of batches, their frames' headers
// included, for an exchange. Beside it are the same bytes as text through one flate stream a
// direction, flushed as often, and through xz -9, which sees all of them at once. An operation is
// an exchange, and -exchanges are in a corpus; with few of them contexts have not seen much yet.
func BenchmarkCorpora(b *testing.B) {
	for _, name := range []string{"tiny", "items", "rtb"} {
		c := loadCorpus(b, name, *exchanges)
		for _, size := range []int{8, 32} {
			for level := compress.Fastest; level <= compress.Best; level++ {
				b.Run(fmt.Sprintf("corpus=%s/batch=%d/codec=zstd/level=%v", name, size, level), func(b *testing.B) {
					c.bench(b, compress.Zstd, level, size)
				})
			}
			b.Run(fmt.Sprintf("corpus=%s/batch=%d/codec=snappy", name, size), func(b *testing.B) {
				c.bench(b, compress.Snappy, compress.Fastest, size)
			})
			b.Run(fmt.Sprintf("corpus=%s/batch=%d/codec=text-flate", name, size), func(b *testing.B) { c.benchFlate(b, size) })
		}
		b.Run(fmt.Sprintf("corpus=%s/codec=text-xz", name), c.benchXZ)
	}
}

// corpus is exchanges as text and as records.
type corpus struct {
	requests, responses [][]byte
	asked               []wire.Request
	answered            []wire.Response
}

func loadCorpus(b *testing.B, name string, count int) *corpus {
	c := new(corpus)
	load := func(direction string, each func(first [][]byte, host []byte, fields []wire.Field, kind wire.Body, body []byte)) (texts [][]byte) {
		text, err := exec.Command("go", "run", "../bench/pair", "corpus", name, direction, strconv.Itoa(count)).Output()
		if err != nil {
			b.Fatal(err)
		}
		for len(text) > 0 {
			end := bytes.Index(text, []byte("\r\n\r\n"))
			lines := bytes.Split(text[:end], []byte("\r\n"))
			var fields []wire.Field
			var host []byte
			size, kind := 0, wire.BodyNone
			for _, line := range lines[1:] {
				name, value, _ := bytes.Cut(line, []byte(": "))
				switch string(name) {
				case "Host":
					host = value
					continue
				case "Content-Length":
					size, _ = strconv.Atoi(string(value))
					kind = wire.BodyWhole
				}
				fields = append(fields, wire.Field{Name: name, Value: value})
			}
			end += 4
			each(bytes.SplitN(lines[0], []byte(" "), 3), host, fields, kind, text[end:end+size])
			texts = append(texts, text[:end+size])
			text = text[end+size:]
		}
		return texts
	}
	c.requests = load("requests", func(first [][]byte, host []byte, fields []wire.Field, kind wire.Body, body []byte) {
		c.asked = append(c.asked, wire.Request{Method: first[0], Target: first[1], Authority: host, Fields: fields, BodyKind: kind, Body: body, TimeLeft: 30 * time.Second})
	})
	c.responses = load("responses", func(first [][]byte, _ []byte, fields []wire.Field, kind wire.Body, body []byte) {
		status, _ := strconv.Atoi(string(first[1]))
		c.answered = append(c.answered, wire.Response{Status: status, Fields: fields, BodyKind: kind, Body: body})
	})
	return c
}

func (c *corpus) bench(b *testing.B, id compress.ID, level compress.Level, size int) {
	var batches [2][]wire.Batch
	for d := range batches {
		e := wire.NewEncoder(wire.DefaultAnnounced().Dict(wire.DefaultAnnounced()))
		var open wire.Batch
		for i := range c.asked {
			if d == 0 {
				e.AppendRequest(&open, &c.asked[i])
			} else {
				e.AppendResponse(&open, uint32(i+1), &c.answered[i])
			}
			if i%size == size-1 {
				batches[d] = append(batches[d], open)
				open = wire.Batch{}
			}
		}
	}
	m := compress.NewMemory(-1)
	sent, exchanges := 0, 0
	var out []byte
	b.ResetTimer()
	for exchanges < b.N || exchanges == 0 {
		for d := range batches {
			enc, err := m.NewEncoder(id, compress.EncoderOptions{Level: level})
			if err != nil {
				b.Fatal(err)
			}
			for i := range batches[d] {
				const frame = 9 // HTTP/2's header
				if out, err = appendBatch(out[:0], &batches[d][i], enc, i == 0); err != nil {
					b.Fatal(err)
				}
				sent += len(out) + frame
			}
			enc.Close()
		}
		exchanges += len(c.asked)
	}
	b.ReportMetric(float64(sent)/float64(exchanges), "wire-B/op")
}

func (c *corpus) benchFlate(b *testing.B, size int) {
	const head = 8 // the number and the length of a message
	var out bytes.Buffer
	exchanges, sent := 0, 0
	for exchanges < b.N || exchanges == 0 {
		for _, texts := range [][][]byte{c.requests, c.responses} {
			out.Reset()
			w, _ := flate.NewWriter(&out, flate.DefaultCompression)
			for i, text := range texts {
				w.Write([]byte{0, 0, 0, byte(i % 64), 0, 0, byte(len(text) >> 8), byte(len(text))}[:head])
				w.Write(text)
				if i%size == size-1 {
					w.Flush()
				}
			}
			sent += out.Len()
		}
		exchanges += len(c.asked)
	}
	b.ReportMetric(float64(sent)/float64(exchanges), "wire-B/op")
}

func (c *corpus) benchXZ(b *testing.B) {
	if _, err := exec.LookPath("xz"); err != nil {
		b.Skip("there is no xz")
	}
	sent := 0
	for _, texts := range [][][]byte{c.requests, c.responses} {
		cmd := exec.Command("xz", "-9", "-c")
		cmd.Stdin = bytes.NewReader(bytes.Join(texts, nil))
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		sent += len(out)
	}
	b.ReportMetric(float64(sent)/float64(len(c.asked)), "wire-B/op")
}
