// Command upstream is what .ci/interop has behind its backs: upstream ADDR DIR
//
//	GET /page       a page of 8 KiB
//	POST /post?id=  writes the id to DIR/posts.txt
//	GET /bulk       DIR/bulk.bin
//	PUT /sum        the SHA-256 of the body
//	PUT /stuck      takes nothing of the body
//	POST /echo      the body, as it comes
//	GET /events     an event, and another one after POST /go
//	GET /upgrade    101, and then an echo
//	POST /trailers  trailers in both directions
package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
)

func main() {
	addr, dir := os.Args[1], os.Args[2]
	posts, err := os.OpenFile(filepath.Join(dir, "posts.txt"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	page := bytes.Repeat([]byte("0123456789abcde\n"), 512)
	goc := make(chan struct{})
	http.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello\n") })
	http.HandleFunc("GET /page", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(page))) // or it may be streamed
		w.Write(page)
	})
	http.HandleFunc("POST /post", func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintln(posts, r.FormValue("id"))
		fmt.Fprintln(w, r.FormValue("id"))
	})
	http.HandleFunc("GET /bulk", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, filepath.Join(dir, "bulk.bin"))
	})
	http.HandleFunc("PUT /sum", func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		if _, err := io.Copy(h, r.Body); err != nil {
			return
		}
		fmt.Fprintf(w, "%x\n", h.Sum(nil))
	})
	http.HandleFunc("PUT /stuck", func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	http.HandleFunc("POST /echo", echo)
	http.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
		http.NewResponseController(w).Flush()
		select {
		case <-goc:
		case <-r.Context().Done():
		}
		io.WriteString(w, "data: 2\n\n")
	})
	http.HandleFunc("POST /go", func(w http.ResponseWriter, r *http.Request) {
		select {
		case goc <- struct{}{}:
		case <-r.Context().Done():
		}
	})
	http.HandleFunc("GET /upgrade", upgrade)
	http.HandleFunc("POST /trailers", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Length, X-Seen")
		fmt.Fprintln(w, "body")
		w.Header().Set("X-Length", fmt.Sprint(n))
		w.Header().Set("X-Seen", r.Trailer.Get("X-Sum"))
	})
	log.Fatal(http.ListenAndServe(addr, nil))
}

func echo(w http.ResponseWriter, r *http.Request) {
	c := http.NewResponseController(w)
	c.EnableFullDuplex()
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Body.Read(buf)
		w.Write(buf[:n])
		c.Flush()
		if err != nil {
			return
		}
	}
}

func upgrade(w http.ResponseWriter, r *http.Request) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer nc.Close()
	io.WriteString(nc, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	io.Copy(nc, rw)
}
