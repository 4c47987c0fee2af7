package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"
)

// Names of trailers that differ in their case are one name in HTTP/2, and a field of the head is none of them.
func TestHTTP2TrailersOfOneNameAllCross(t *testing.T) {
	up := startScript(t, func(nc net.Conn, r *bufio.Reader) {
		for readHead(r) != "" {
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum, X-Head\r\nX-Head: no trailer\r\n\r\n1\r\na\r\n0\r\nx-sum: 1\r\nX-Sum: 2\r\n\r\n")
		}
	})
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			_, addr, client := startSecure(t, way, up, Config{})
			tr := &http.Transport{TLSClientConfig: client, ForceAttemptHTTP2: true}
			defer tr.CloseIdleConnections()
			resp, err := (&http.Client{Transport: tr}).Get("https://" + addr + "/")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			io.Copy(io.Discard, resp.Body)
			if got := resp.Trailer["X-Sum"]; !slices.Equal(got, []string{"1", "2"}) || len(resp.Trailer["X-Head"]) > 0 {
				t.Errorf("got trailers %v; want both of X-Sum and nothing else", resp.Trailer)
			}
		})
	}
}

// An upstream that does not stop to send interim responses, to a client that reads none, is let go.
func TestHTTP2InterimResponsesThatNobodyReadsAreBounded(t *testing.T) {
	const most = 4 << 20
	wrotec := make(chan int, 1)
	inBrowserBubble(t, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		nc, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer nc.Close()
		hint := []byte("HTTP/1.1 103 Early Hints\r\nLink: </" + strings.Repeat("a", 1000) + ">\r\n\r\n")
		wrote := 0
		for wrote < most && err == nil {
			var n int
			n, err = nc.Write(hint)
			wrote += n
			time.Sleep(time.Millisecond) // a bubble's: until all that follows from it is done
		}
		wrotec <- wrote
	}, func(t *testing.T, b *browser) {
		wrotec = make(chan int, 1)
		letGoc, endc := make(chan struct{}), make(chan error, 1)
		go func() {
			resp, err := b.do("GET", "/", nil, func(r *http.Request) {
				*r = *r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
					Got1xxResponse: func(int, textproto.MIMEHeader) error { <-letGoc; return nil }, // it reads nothing meanwhile
				}))
			})
			if err == nil {
				resp.Body.Close()
			}
			endc <- err
		}()
		if wrote := <-wrotec; wrote >= most {
			t.Errorf("the upstream could send %d bytes; want an end", wrote)
		}
		if held := b.f.Stats().Held; held > maxInterim+4<<10 {
			t.Errorf("%d bytes are held; want %d", held, maxInterim)
		}
		close(letGoc)
		if err := <-endc; err == nil {
			t.Error("the exchange has a response; want it cut")
		}
	})
}
