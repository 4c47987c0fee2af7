package http1

import (
	"bytes"
	"strings"
	"testing"
)

// readChunked reads a body given in pieces of at most step bytes, and returns it with the number of bytes used.
func readChunked(c *Chunked, in []byte, step int) (body []byte, used int, done bool, err error) {
	for used < len(in) && !done && err == nil {
		n, data := 0, []byte(nil)
		p := bytes.Clone(in[used:min(len(in), used+step)]) // nothing may live on in the input
		n, data, done, err = c.Next(p)
		body = append(body, data...)
		used += n
		clear(p)
	}
	return body, used, done, err
}

func TestChunkedBodiesAreRead(t *testing.T) {
	for _, tc := range []struct {
		name, in, body string // \n stands for CR LF
		trailers       []string
	}{
		{"empty", "0\n\n", "", nil},
		{"two chunks", "5\nhello\nB\n, big world\n0\n\n", "hello, big world", nil},
		{"leading zeros", "0005\nhello\n0000\n\n", "hello", nil},
		{"both cases", "a\n0123456789\nA\n0123456789\n0\n\n", "01234567890123456789", nil},
		{"line ends in data", "4\n\n\n\n0\n\n", "\r\n\r\n", nil},
		{"extensions", "5;a;b=c;d=\"e f\t\"\nhello\n0;x\n\n", "hello", nil},
		{"spaces before an extension", "5 \t;a\nhello\n0\n\n", "hello", nil},
		{"trailers", "5\nhello\n0\nX-Sum:  1 \nx-sum: 2\n\n", "hello", []string{"X-Sum: 1", "x-sum: 2"}},
		{"trailers that must not be", "0\nContent-Length: 5\nHost: a\nTransfer-Encoding: chunked\nConnection: x\nTE: x\nExpect: x\nX: y\n\n", "", []string{"X: y"}},
	} {
		in := []byte(crlf(tc.in))
		for _, step := range []int{1, 2, 3, len(in) + 4} {
			var c Chunked
			body, used, done, err := readChunked(&c, append(in[:len(in):len(in)], "next"...), step)
			if err != nil || !done || used != len(in) || string(body) != crlf(tc.body) && string(body) != tc.body {
				t.Errorf("%s, %d bytes a call: got %q, %d, %v, %v; want %q, %d", tc.name, step, body, used, done, err, tc.body, len(in))
			}
			wantLines(t, c.Trailers, tc.trailers...)
			if n, data, done, err := c.Next([]byte("next")); n != 0 || data != nil || !done || err != nil {
				t.Errorf("%s: Next after done = %d, %q, %v, %v; want nothing", tc.name, n, data, done, err)
			}
		}
	}
}

func TestChunkedRefusals(t *testing.T) {
	for _, tc := range []struct {
		name, in string
		status   int
	}{
		{"no size", "\r\nhello\r\n0\r\n\r\n", 400},
		{"size not hexadecimal", "g\r\n", 400},
		{"size with 0x", "0x5\r\nhello\r\n", 400},
		{"negative size", "-5\r\n", 400},
		{"space before the size", " 5\r\nhello\r\n", 400},
		{"space behind the size", "5 \r\nhello\r\n", 400},
		{"two sizes", "5 5\r\nhello\r\n", 400},
		{"size that overflows", "10000000000000005\r\nhello\r\n", 400},
		{"largest size", "7fffffffffffffff\r\n", 400},
		{"endless zeros", strings.Repeat("0", 17), 400},
		{"bare LF behind the size", "5\nhello\r\n", 400},
		{"bare LF behind an extension", "5;a\nhello\r\n", 400},
		{"bare CR behind the size", "5\rhello\r\n", 400},
		{"control byte in an extension", "5;a\x00b\r\nhello\r\n", 400},
		{"extension too long", "5;" + strings.Repeat("a", 1<<10), 400},
		{"too many extensions", strings.Repeat("1;"+strings.Repeat("a", 1000)+"\r\nx\r\n", 17), 400},
		{"data longer than its size", "4\r\nhello\r\n", 400},
		{"data without CR", "5\r\nhello\n0\r\n\r\n", 400},
		{"data without LF", "5\r\nhello\r0\r\n\r\n", 400},
		{"bare LF at the end", "0\r\n\n", 400},
		{"bare LF in trailers", "0\r\nX: y\n\r\n", 400},
		{"folded trailer", "0\r\nX: y\r\n z\r\n\r\n", 400},
		{"space before a trailer's colon", "0\r\nX : y\r\n\r\n", 400},
		{"trailers too large", "0\r\nX: " + strings.Repeat("y", DefaultHead), 431},
		{"trailers too many", "0\r\n" + strings.Repeat("X: y\r\n", 257) + "\r\n", 431},
	} {
		for _, step := range []int{1, len(tc.in)} {
			var c Chunked
			_, _, done, err := readChunked(&c, []byte(tc.in), step)
			if done || statusOf(err) != tc.status {
				t.Errorf("%s, %d bytes a call: got %v, %v; want %d", tc.name, step, done, err, tc.status)
			}
		}
	}
}

func TestBodyCutShortIsNeverDone(t *testing.T) {
	in := []byte(crlf("5;x=y\nhello\n3\nabc\n0\nX: y\n\n"))
	for i := range in {
		var c Chunked
		if _, used, done, err := readChunked(&c, in[:i], i+1); used != i || done || err != nil {
			t.Errorf("%d bytes: got %d, %v, %v; want all used and not done", i, used, done, err)
		}
	}
}

func TestExtensionsAreAllowedInProportionToData(t *testing.T) {
	var in []byte
	for range 100 {
		in = append(in, "400;signature="+strings.Repeat("a", 500)+"\r\n"...)
		in = append(in, make([]byte, 1024)...)
		in = append(in, '\r', '\n')
	}
	var c Chunked
	if body, _, _, err := readChunked(&c, in, len(in)); err != nil || len(body) != 100<<10 {
		t.Errorf("got %d bytes, %v; want all", len(body), err)
	}
}

func TestChunkedCanBeUsedAgain(t *testing.T) {
	var c Chunked
	for range 2 {
		c.Reset(Limits{})
		body, _, done, err := readChunked(&c, []byte("1\r\nx\r\n0\r\nX: y\r\n\r\n"), 100)
		if string(body) != "x" || !done || err != nil {
			t.Fatalf("got %q, %v, %v; want x", body, done, err)
		}
		wantLines(t, c.Trailers, "X: y")
	}
	c.Reset(Limits{Head: 4})
	if _, _, _, err := readChunked(&c, []byte("0\r\nX: y\r\n\r\n"), 1); statusOf(err) != 431 {
		t.Errorf("got %v; want 431", err)
	}
}
