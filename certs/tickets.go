package certs

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"time"
)

// ticketPeriod is how long a session ticket key encrypts. It still decrypts for as long again, and so does the
// next one, for processes whose clocks are ahead.
const ticketPeriod = 12 * time.Hour

// tickets derives session ticket keys from a secret that processes share, so that they change at the same time
// without a word between them. Who learns the secret can read the tickets of all times until it is replaced.
type tickets struct {
	file string // immutable

	// Guarded by Live.mu.
	secret []byte
	period int64 // of the keys last given out
}

// leastTicketSecret is the size of an AES-256 key.
const leastTicketSecret = 32

func (t *tickets) read() ([]byte, error) {
	b, err := read("TicketKeyFile", t.file)
	if err != nil {
		return nil, err
	}
	if len(b) < leastTicketSecret {
		return nil, fmt.Errorf("certs: TicketKeyFile %q: %d bytes; want %d random ones at least", t.file, len(b), leastTicketSecret)
	}
	return b, nil
}

func periodOf(now time.Time) int64 { return now.Unix() / int64(ticketPeriod/time.Second) }

func (t *tickets) isStale(now time.Time) bool { return periodOf(now) != t.period }

// keys returns the keys of now: the first encrypts, all decrypt.
func (t *tickets) keys(now time.Time) [][32]byte {
	t.period = periodOf(now)
	keys := make([][32]byte, 0, 3)
	for _, period := range []int64{t.period, t.period - 1, t.period + 1} {
		b, err := hkdf.Key(sha256.New, t.secret, nil, fmt.Sprintf("h2tp session ticket key %d", period), 32)
		if err != nil {
			panic("h2tp: bug: " + err.Error())
		}
		keys = append(keys, [32]byte(b))
	}
	return keys
}
