// Package compress turns bytes into fewer bytes and back, with a context that lasts from block to
// block, within a limit on memory.
//
// An [Encoder] and a [Decoder] each hold one context: one direction of one stream. Blocks are decoded
// in the order they were encoded, none left out; each is decodable as soon as its own bytes are there.
// The formats are those of PROTOCOL section 5. All memory is reserved with a [Memory] before it is
// taken, and nothing here starts a goroutine.
//
// A context is a chain: a block that was lost, or decoded into the wrong context, is not always an
// error here (a zstd match into the wrong history is still a match). Whoever sends blocks adds a
// checksum of the plain bytes, as PROTOCOL section 3 does.
package compress

import (
	"errors"
	"fmt"
)

// ID names a codec; the values are those of PROTOCOL section 5.
type ID uint8

const (
	None   ID = iota // as it is: no context, no memory
	Snappy           // the framing format: no context across chunks of 64 KiB, next to no memory
	Flate            // RFC 1951: a context of 32 KiB
	Zstd             // RFC 8878: a context of as much as the window
)

var names = [...]string{None: "none", Snappy: "snappy", Flate: "flate", Zstd: "zstd"}

// Parse is the inverse of String; it knows the names of PROTOCOL section 5 and no others.
func Parse(name string) (ID, error) {
	for id, n := range names {
		if n == name {
			return ID(id), nil
		}
	}
	return 0, fmt.Errorf("compress: unknown codec %q", name)
}

func (id ID) String() string {
	if int(id) < len(names) {
		return names[id]
	}
	return fmt.Sprintf("codec %d", uint8(id))
}

// Level is how hard an encoder tries; decoders need not know. None and Snappy have one level only.
type Level uint8

const (
	Fastest Level = iota // zstd fastest, flate 1
	Default              // zstd default, flate 5
	Better               // zstd better, flate 7
	Best                 // zstd best, flate 9
)

var levels = [...]string{Fastest: "fastest", Default: "default", Better: "better", Best: "best"}

// ParseLevel is the inverse of String; it knows the names of levels and no others.
func ParseLevel(name string) (Level, error) {
	for l, n := range levels {
		if n == name {
			return Level(l), nil
		}
	}
	return 0, fmt.Errorf("compress: unknown level %q", name)
}

func (l Level) String() string {
	if int(l) < len(levels) {
		return levels[l]
	}
	return fmt.Sprintf("level %d", uint8(l))
}

const (
	defaultWindow = 256 << 10 // most of the gain of a large window on small bodies
	minWindow     = 1 << 10   // PROTOCOL section 7
	maxWindow     = 8 << 20   // PROTOCOL section 7
)

var (
	// ErrMemory is returned when a context would take the process over the limit of its Memory.
	ErrMemory = errors.New("compress: over the memory limit")

	// ErrCorrupt is wrapped by the error of a block that is not in its codec's format, does not
	// decode to exactly the bytes announced, or does not belong to the decoder's context.
	ErrCorrupt = errors.New("compress: corrupt block")

	// ErrWindow is wrapped by the error of a zstd context that asks for a window above the decoder's.
	ErrWindow = errors.New("compress: window over the limit")

	// ErrClosed is returned by what is used after Close.
	ErrClosed = errors.New("compress: closed")

	errEmpty = errors.New("compress: empty block")
)

// checkWindow completes a Window option.
func checkWindow(window int) (int, error) {
	if window == 0 {
		return defaultWindow, nil
	}
	if window < minWindow || window > maxWindow {
		return 0, fmt.Errorf("compress: window %d is not between %d and %d", window, minWindow, maxWindow)
	}
	return window, nil
}
