package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// serveUpstream answers GETs and POSTs with the ids that they have, and notes each POST's
// before anything else. Told to end, it fails its checks for two seconds, as a load balancer
// expects, and then finishes what it has.
func serveUpstream(addr, posts string) {
	file, err := os.OpenFile(posts, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	var isEnding atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /check", func(w http.ResponseWriter, _ *http.Request) {
		if isEnding.Load() {
			w.WriteHeader(503)
		}
	})
	mux.HandleFunc("GET /get/{id}", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(2 * time.Millisecond)
		io.WriteString(w, r.PathValue("id"))
	})
	mux.HandleFunc("POST /post/{id}", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(file, r.PathValue("id"))
		body, err := io.ReadAll(r.Body)
		if err != nil || strings.TrimSpace(string(body)) != r.PathValue("id") {
			w.WriteHeader(400)
			return
		}
		time.Sleep(2 * time.Millisecond)
		io.WriteString(w, r.PathValue("id"))
	})
	srv := &http.Server{Addr: addr, Handler: mux}
	termc := make(chan os.Signal, 1)
	signal.Notify(termc, syscall.SIGTERM)
	donec := make(chan struct{})
	go func() {
		defer close(donec)
		<-termc
		isEnding.Store(true)
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
	}()
	if err := srv.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatal(err)
	}
	<-donec
}
