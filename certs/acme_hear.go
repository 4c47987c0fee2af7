package certs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	// maxHeard bounds the part of an answer that is looked into: those of RFC 8555 are of a few KiB.
	maxHeard = 64 << 10
	// maxReason bounds what is kept of an authority's words.
	maxReason = 400
	// maxReasons bounds the names of which one is kept; one more takes the place of the oldest.
	maxReasons = 1024
)

// hearing is a transport that remembers why the authority refuses a name: autocert tells nobody why a renewal fails, nor what
// was wrong with a challenge.
type hearing struct {
	next     http.RoundTripper
	isListed func(name string) bool

	mu      sync.Mutex // guards all below
	reasons map[string]reason
	unheard reason // the last that is of no name: the authority was not reached, or takes nothing at all
}

// reason is why something failed, and when.
type reason struct {
	text string
	at   time.Time
}

// answer is what matters of an authority's answers: an order, an authorization (RFC 8555 section 7.1) or a problem (RFC 7807).
type answer struct {
	problem
	Status      any // a number of a problem
	Identifier  identifier
	Identifiers []identifier
	Challenges  []struct{ Error *problem }
	Error       *problem
}

type identifier struct{ Value string }

type problem struct{ Type, Detail string }

func (p *problem) String() string {
	_, kind, _ := strings.Cut(p.Type, "urn:ietf:params:acme:error:")
	text := fmt.Sprintf("the authority says %s: %s", kind, p.Detail)
	return text[:min(len(text), maxReason)]
}

func (h *hearing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(r)
	if err != nil {
		if !errors.Is(err, errClosed) {
			h.note(nil, err.Error())
		}
		return nil, err
	}
	if kind := resp.Header.Get("Content-Type"); strings.HasPrefix(kind, "application/json") || strings.HasPrefix(kind, "application/problem+json") {
		b, _ := io.ReadAll(io.LimitReader(resp.Body, maxHeard)) // whoever reads on meets the error again
		resp.Body = heardBody{io.MultiReader(bytes.NewReader(b), resp.Body), resp.Body}
		h.hear(r, resp.StatusCode, b)
	}
	return resp, nil
}

// heardBody gives again what was read of a body, and then the rest.
type heardBody struct {
	io.Reader
	io.Closer
}

// hear looks for what went wrong in an answer.
func (h *hearing) hear(r *http.Request, status int, b []byte) {
	var a answer
	if json.Unmarshal(b, &a) != nil {
		return
	}
	switch {
	case status >= 400:
		if !strings.HasSuffix(a.Type, ":badNonce") { // it is asked again with another
			h.note(namesAsked(r), a.problem.String())
		}
	case a.Status == "invalid":
		names := append(a.Identifiers, a.Identifier)
		for _, c := range a.Challenges {
			if c.Error != nil {
				h.note(names, c.Error.String())
			}
		}
		if a.Error != nil {
			h.note(names, a.Error.String())
		}
	}
}

// namesAsked are those of a request for an order; none of any other.
func namesAsked(r *http.Request) []identifier {
	if r.GetBody == nil {
		return nil
	}
	body, err := r.GetBody()
	if err != nil {
		return nil
	}
	defer body.Close()
	var signed struct{ Payload string }
	var order answer
	if json.NewDecoder(io.LimitReader(body, maxHeard)).Decode(&signed) != nil {
		return nil
	}
	payload, err := base64.RawURLEncoding.DecodeString(signed.Payload)
	if err != nil || json.Unmarshal(payload, &order) != nil {
		return nil
	}
	return order.Identifiers
}

func (h *hearing) note(names []identifier, text string) {
	now := reason{text, time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(names) == 0 {
		h.unheard = now
	}
	for _, id := range names {
		name := strings.ToLower(id.Value)
		if !h.isListed(name) {
			continue
		}
		if _, ok := h.reasons[name]; !ok && len(h.reasons) >= maxReasons {
			oldest := ""
			for other, r := range h.reasons {
				if oldest == "" || r.at.Before(h.reasons[oldest].at) {
					oldest = other
				}
			}
			delete(h.reasons, oldest)
		}
		h.reasons[name] = now
	}
}

// of returns why name was refused last, and why all were; the zero value when that is not known.
func (h *hearing) of(name string) (named, all reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reasons[name], h.unheard
}
