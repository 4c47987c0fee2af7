package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
)

// maxItems keeps the answer of /items, some 200 bytes an item, below the front's limit on a body.
const maxItems = 10000

// item is one of what /items lists: random ids and prices between fields that repeat, as APIs have them.
type item struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Category string   `json:"category"`
	Price    int      `json:"price_cents"`
	Currency string   `json:"currency"`
	InStock  bool     `json:"in_stock"`
	Tags     []string `json:"tags"`
	Owner    string   `json:"owner_id"`
}

// newDemoUpstream makes the small server the demo's back sends to.
func newDemoUpstream() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", serveRoot)
	mux.HandleFunc("GET /items", serveItems)
	mux.HandleFunc("POST /echo", serveEcho)
	return mux
}

func serveRoot(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, "The upstream of h2tp demo.\n\nGET  /items?n=20   n items as JSON\nPOST /echo         the body comes back\n")
}

func serveItems(w http.ResponseWriter, r *http.Request) {
	n := 20
	if s := r.URL.Query().Get("n"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil || n < 0 || n > maxItems {
			http.Error(w, fmt.Sprintf("n is a number from 0 to %d", maxItems), http.StatusBadRequest)
			return
		}
	}
	items := make([]item, n)
	for i := range items {
		items[i] = item{
			ID: fmt.Sprintf("%016x", rand.Uint64()), Name: fmt.Sprintf("Item number %d", rand.IntN(1000)),
			Category: []string{"books", "garden", "music", "tools"}[rand.IntN(4)],
			Price:    rand.IntN(100000), Currency: "EUR", InStock: rand.IntN(4) > 0,
			Tags: []string{"new", "sale"}[:rand.IntN(3)], Owner: fmt.Sprintf("%08x", rand.Uint32()),
		}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"request_id": fmt.Sprintf("%016x", rand.Uint64()), "items": items})
}

func serveEcho(w http.ResponseWriter, r *http.Request) {
	if t := r.Header.Get("Content-Type"); t != "" {
		w.Header().Set("Content-Type", t)
	}
	body, err := io.ReadAll(r.Body) // bounded by the front's limit; net/http drops what is unread once an answer begins
	if err != nil {
		http.Error(w, "body cut short", http.StatusBadRequest)
		return
	}
	w.Write(body)
}
