package proxy

import (
	"crypto/sha256"
	"crypto/subtle"
	"strings"

	"github.com/h2tp/h2tp/pool"
)

const (
	tokenField  = "authorization" // which intermediaries know to keep out of their logs
	tokenScheme = "Bearer "
)

// tokenFields is what shows a back that this front may use its hop.
func (h *Hop) tokenFields() []pool.Field {
	if h.Tokens == nil {
		return nil
	}
	tokens := h.Tokens()
	if len(tokens) == 0 || tokens[0] == "" { // a value may not end in a space
		return nil
	}
	return []pool.Field{{Name: tokenField, Value: tokenScheme + tokens[0], Sensitive: true}}
}

// takesToken reports whether a stream's opener showed one of the tokens. The time it takes tells neither which
// bytes of it were right nor how long it should be.
func (h *Hop) takesToken(header *pool.Header) bool {
	if h.Tokens == nil {
		return true
	}
	shown, ok := strings.CutPrefix(header.Value(tokenField), tokenScheme)
	sum := sha256.Sum256([]byte(shown))
	found := 0
	for _, token := range h.Tokens() {
		want := sha256.Sum256([]byte(token))
		found |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return ok && found == 1
}
