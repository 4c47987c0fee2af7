package proxy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// Paths of the hop below its prefix, and its fields: PROTOCOL.md section 2.
const (
	pathBatch   = "/h2tp/batch"
	pathReady   = "/h2tp/ready"
	pathBulk    = "/h2tp/bulk"
	fieldStream = "h2tp-stream"
	contentType = "application/h2tp"
	version     = "1"
)

// terms is what one end announces when a batched stream is opened.
type terms struct {
	codecs []compress.ID // that it decodes, the preferred first
	limits wire.Announced
}

// allCodecs is the order of preference in which codecs are announced.
var allCodecs = []compress.ID{compress.Zstd, compress.Snappy, compress.Flate, compress.None}

// lightCodecs need no context to decode that is worth bounding.
var lightCodecs = []compress.ID{compress.Snappy, compress.None}

func (t terms) fields() []pool.Field {
	names := make([]string, len(t.codecs))
	for i, id := range t.codecs {
		names[i] = id.String()
	}
	return []pool.Field{
		{Name: "content-type", Value: contentType},
		{Name: "h2tp-version", Value: version},
		{Name: "h2tp-codec", Value: strings.Join(names, ", ")},
		{Name: "h2tp-limits", Value: string(wire.AppendLimits(nil, t.limits))},
	}
}

// newEncoder makes an encoder of the level wanted, or of the least when there is no
// memory for that.
func (h *Hop) newEncoder(codec compress.ID, level compress.Level, window int) (*compress.Encoder, error) {
	e, err := h.Memory.NewEncoder(codec, compress.EncoderOptions{Level: level, Window: window})
	if err != nil && level > compress.Fastest {
		e, err = h.Memory.NewEncoder(codec, compress.EncoderOptions{Window: window})
	}
	return e, err
}

// ownTerms is what a front announces.
func ownTerms() terms { return terms{codecs: allCodecs, limits: wire.DefaultAnnounced()} }

var errVersion = errors.New("no common version")

// parseTerms reads the peer's; its error is for the peer and the log.
func parseTerms(h *pool.Header) (terms, error) {
	var t terms
	if !slices.Contains(splitList(h.Value("h2tp-version")), version) {
		return t, errVersion
	}
	if ct := h.Value("content-type"); ct != contentType {
		return t, fmt.Errorf("content-type is %q", ct)
	}
	for _, name := range splitList(h.Value("h2tp-codec")) {
		if id, err := compress.Parse(name); err == nil && id != compress.None {
			t.codecs = append(t.codecs, id)
		}
	}
	t.codecs = append(t.codecs, compress.None)
	var err error
	t.limits, err = wire.ParseLimits(h.Value("h2tp-limits"))
	return t, err
}

// termsError is a 200 that no back gives.
type termsError struct {
	error
	met pool.Header
}

func (e *termsError) Error() string {
	return fmt.Sprintf("peer's terms: %v; it answered %d, content-type %.80q, h2tp-version %.80q", e.error, e.met.Status, e.met.Value("content-type"), e.met.Value("h2tp-version"))
}

func (e *termsError) Unwrap() error { return e.error }

func splitList(s string) []string {
	list := strings.Split(s, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	return list
}

// sendCodec is the codec to send with: the one wanted if the peer decodes it,
// else what both have that costs least.
func (t terms) sendCodec(want compress.ID) compress.ID {
	for _, id := range []compress.ID{want, compress.Snappy} {
		if id == compress.None || slices.Contains(t.codecs, id) {
			return id
		}
	}
	return compress.None
}

// tuned is what is wanted, as far as the peer decodes it.
func (t terms) tuned(want tuned) tuned {
	if codec := t.sendCodec(want.codec); codec != want.codec {
		return tuned{codec: codec}
	}
	return want
}
