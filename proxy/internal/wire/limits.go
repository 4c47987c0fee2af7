package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Defaults and bounds of section 7.
const (
	DefaultBatch       = 8 << 20
	DefaultWindow      = 256 << 10
	DefaultDictEntries = 4096
	DefaultDictBytes   = 512 << 10
	DefaultFields      = 256
	DefaultFieldBytes  = 64 << 10
	DefaultTarget      = 16 << 10

	minBatch, maxBatch   = 64 << 10, 16<<20 - 1 // the lengths in a header have 24 bits
	minWindow, maxWindow = 1 << 10, 8 << 20     // zstd's smallest; what every decoder should support
	maxDictEntries       = 65536
	maxDictBytes         = 4 << 20
)

// maxText bounds the text of a failed record (section 8).
const maxText = 256

// DictLimits bounds the dictionary of one direction: the smaller of what both ends announced
// ([Announced.Dict]). Zero, in either, means no dictionary.
type DictLimits struct {
	Entries int
	Bytes   int // name, value and 32 of each entry
}

// Limits bounds what a [Decoder] accepts; each default is section 7's.
type Limits struct {
	// Batch bounds both sections of a batch together; a batch over it is a stream error.
	// If zero or less, DefaultBatch is used.
	Batch int
	// Fields bounds the fields and trailers of a record; over it the record is refused.
	// If zero or less, DefaultFields is used.
	Fields int
	// FieldBytes bounds the names and values of a record's fields and trailers, its authority,
	// method and reason together; over it the record is refused. If zero or less,
	// DefaultFieldBytes is used.
	FieldBytes int
	// Target bounds the target in bytes; over it the record is refused. If zero or less,
	// DefaultTarget is used.
	Target int
}

func (l Limits) withDefaults() Limits {
	l.Batch = positive(l.Batch, DefaultBatch)
	l.Fields = positive(l.Fields, DefaultFields)
	l.FieldBytes = positive(l.FieldBytes, DefaultFieldBytes)
	l.Target = positive(l.Target, DefaultTarget)
	return l
}

func positive(v, otherwise int) int {
	if v > 0 {
		return v
	}
	return otherwise
}

// Announced is the content of an h2tp-limits field: what its sender is ready to receive and remember.
type Announced struct {
	Batch   int // plain + raw of one batch
	Window  int // of zstd
	Entries int // of the dictionary; 0 means none
	Bytes   int // of the dictionary
}

// DefaultAnnounced returns what an absent h2tp-limits field means.
func DefaultAnnounced() Announced {
	return Announced{Batch: DefaultBatch, Window: DefaultWindow, Entries: DefaultDictEntries, Bytes: DefaultDictBytes}
}

// Dict returns the limits both ends' dictionaries have, given what each announced.
func (a Announced) Dict(peer Announced) DictLimits {
	return DictLimits{Entries: min(a.Entries, peer.Entries), Bytes: min(a.Bytes, peer.Bytes)}
}

// AppendLimits appends the value of an h2tp-limits field.
func AppendLimits(dst []byte, a Announced) []byte {
	dst = strconv.AppendInt(append(dst, "batch="...), int64(a.Batch), 10)
	dst = strconv.AppendInt(append(dst, ", window="...), int64(a.Window), 10)
	dst = strconv.AppendInt(append(dst, ", entries="...), int64(a.Entries), 10)
	return strconv.AppendInt(append(dst, ", bytes="...), int64(a.Bytes), 10)
}

// ParseLimits parses the value of an h2tp-limits field. Absent keys get their defaults, unknown ones
// are ignored. A key named twice or a value out of its bounds is an error.
func ParseLimits(value string) (Announced, error) {
	a := DefaultAnnounced()
	keys := [...]struct {
		key      string
		min, max int
		to       *int
		seen     bool
	}{
		{"batch", minBatch, maxBatch, &a.Batch, false},
		{"window", minWindow, maxWindow, &a.Window, false},
		{"entries", 0, maxDictEntries, &a.Entries, false},
		{"bytes", 0, maxDictBytes, &a.Bytes, false},
	}
	for part := range strings.SplitSeq(value, ",") {
		part = strings.Trim(part, " \t")
		key, text, isPair := strings.Cut(part, "=")
		if !isPair {
			if part == "" {
				continue // RFC 9110 5.6.1.2
			}
			return Announced{}, errors.New("wire: limit without value")
		}
		if !IsToken([]byte(key)) {
			return Announced{}, errors.New("wire: limit whose key is no token")
		}
		for i := range keys {
			k := &keys[i]
			if k.key != key {
				continue
			}
			v, err := strconv.ParseUint(text, 10, 31)
			if err != nil || k.seen || int(v) < k.min || int(v) > k.max {
				return Announced{}, fmt.Errorf("wire: limit %s: bad, out of bounds or named twice", k.key)
			}
			*k.to, k.seen = int(v), true
		}
	}
	return a, nil
}
