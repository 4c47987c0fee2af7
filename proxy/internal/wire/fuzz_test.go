package wire

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"
)

// FuzzDecodeBatch takes bytes as a hop stream, sums aside: nothing panics, memory stays within
// the limits, and what decodes is encoded and decoded to the same.
func FuzzDecodeBatch(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.stream)
	}
	dl := DictLimits{Entries: 5, Bytes: 400}
	limits := Limits{Batch: 1 << 16, Fields: 6, FieldBytes: 300, Target: 100}
	f.Fuzz(func(t *testing.T, p []byte) {
		d, e, again := NewDecoder(dl, limits), NewEncoder(dl), NewDecoder(dl, limits)
		isExact := true // until a record is over a limit: it comes out incomplete
		for {
			h, err := ParseHeader(p, limits.Batch)
			if err != nil || len(p)-HeaderSize < h.Plain+h.Raw {
				return
			}
			p = p[HeaderSize:]
			shared, raw := p[:h.Plain], p[h.Plain:h.Plain+h.Raw]
			p = p[h.Plain+h.Raw:]
			if !fuzzBatch(t, d, e, again, Batch{Shared: shared, Raw: raw, Clear: h.Clear}, &isExact) {
				return
			}
		}
	})
}

func fuzzBatch(t *testing.T, d *Decoder, e *Encoder, again *Decoder, b Batch, isExact *bool) bool {
	if b.Clear {
		e.Clear()
	}
	var rec Record
	var lines []string
	var out Batch
	d.Reset(b.Shared, b.Raw, b.Clear)
	for {
		err := d.Next(&rec)
		checkDict(t, &d.dict)
		if n := max(cap(rec.Request.Fields), cap(rec.Response.Fields), cap(rec.Trailers)); n > 2*d.limits.Fields {
			t.Fatalf("%d fields", n)
		}
		if err == io.EOF {
			break
		} else if err != nil {
			if again := d.Next(&rec); again != err {
				t.Fatalf("after %v came %v", err, again)
			}
			return false
		}
		if rec.Over != OverNone {
			*isExact = false
		}
		lines = append(lines, dump(&rec))
		appendRecord(e, &out, &rec)
	}
	if len(out.Shared) == 0 || !*isExact {
		return *isExact
	}
	got, err := decodeBatch(again, out)
	if err != nil || !equalStrings(got, lines) {
		t.Fatalf("decoded\n%s\nencoded, and decoded again\n%s\n%v", strings.Join(lines, "\n"), strings.Join(got, "\n"), err)
	}
	return true
}

// FuzzEncodeRequest makes requests of arbitrary values: they come out as they went in, and no
// secret value is in the shared section.
func FuzzEncodeRequest(f *testing.F) {
	f.Add("GET", "/", "h", "Cookie", "session=0123456789abcdef", "X-A", "b", []byte("body"), uint8(1), int64(5))
	f.Add("POST", "/a", "", "Content-Length", "4", "X-Mine", "mine mine mine mine mine", []byte("body"), uint8(0x15), int64(1e9+1))
	f.Add("QUERY", "*", "h:1", "authorization", "Basic dXNlcjpwYXNzd29yZA==", "accept", "*/*", []byte{}, uint8(0x3e), int64(-1))
	f.Fuzz(func(t *testing.T, method, target, authority, name1, value1, name2, value2 string, body []byte, bits uint8, left int64) {
		r := &Request{
			Method: []byte(method), Target: []byte(target), Authority: []byte(authority),
			Fields:   []Field{{[]byte(name1), []byte(value1), bits&0x10 != 0}, {[]byte(name2), []byte(value2), false}},
			BodyKind: Body(bits & 3 % 3), RawBody: bits&4 != 0, TimeLeft: time.Duration(left),
		}
		if r.BodyKind == BodyWhole {
			r.Body = body
			r.Trailers = r.Fields[:bits>>3&1]
		}
		if !isSound(r) {
			t.Skip()
		}
		dl := DictLimits{Entries: 3, Bytes: 512}
		e, d := NewEncoder(dl), NewDecoder(dl, Limits{Target: 1 << 20, FieldBytes: 1 << 20})
		e.SetSecrets([]string{"x-mine"})
		for i := range 4 {
			var b Batch
			if id := e.AppendRequest(&b, r); id != uint32(i+1) {
				t.Fatalf("got id %d; want %d", id, i+1)
			}
			if n := len(b.Shared) + len(b.Raw); n > r.Bound() {
				t.Fatalf("took %d bytes, over the bound %d", n, r.Bound())
			}
			checkShared(t, e, &b, r)
			lines, err := decodeBatch(d, b)
			if want := wantRequest(e, uint32(i+1), r); err != nil || lines[0] != want {
				t.Fatalf("got %v %q; want %q", err, lines, want)
			}
			checkDict(t, &d.dict)
		}
	})
}

// isSound tells what an encoder's caller has to see to.
func isSound(r *Request) bool {
	isOK := IsToken(r.Method) && string(r.Method) != "CONNECT" && IsTarget(r.Target) && IsValue(r.Authority)
	for i, f := range r.Fields {
		isOK = isOK && IsToken(f.Name) && len(f.Name) <= maxName && !IsForbidden(f.Name) && IsValue(f.Value)
		if isContentLength(f.Name) {
			isOK = isOK && i == 0 && len(r.Trailers) == 0 && len(f.Value) > 0 && isAll(f.Value, classDigit) &&
				!isContentLength(r.Fields[1].Name)
		}
	}
	return isOK && len(r.Target) < 1<<20 && len(r.Fields[0].Value) < 1<<18 && len(r.Fields[1].Value) < 1<<18
}

// checkShared looks for secret values among the bytes that the codec sees. Those of a few bytes may be
// there by chance.
func checkShared(t *testing.T, e *Encoder, b *Batch, r *Request) {
	t.Helper()
	shared := b.Shared
	for _, p := range [][]byte{r.Body, r.Target, r.Authority, r.Method} { // may well hold the same bytes
		shared = bytes.ReplaceAll(shared, p, nil)
	}
	for _, f := range r.Fields { // so may a plain value and the framing behind it
		if !isSecret(e, f) && len(f.Value) > 0 {
			shared = bytes.ReplaceAll(shared, f.Value, []byte{0xff, 0xff})
		}
	}
	for _, f := range r.Fields {
		if isContentLength(f.Name) || !isSecret(e, f) || len(f.Value) < 8 {
			continue
		}
		for _, other := range r.Fields {
			if bytes.Contains(other.Name, f.Value) || !isSecret(e, other) && bytes.Contains(other.Value, f.Value) {
				return
			}
		}
		if bytes.Contains(shared, f.Value) {
			t.Fatalf("%s: the secret %q is in the shared section %q", f.Name, f.Value, b.Shared)
		}
	}
}

func isSecret(e *Encoder, f Field) bool {
	return f.Secret || findName(f.Name).rules&ruleSecret != 0 || e.isExtraSecret(f.Name)
}

// wantRequest dumps r as the decoder shall give it: left in milliseconds, secrets marked, the length
// of the body told.
func wantRequest(e *Encoder, id uint32, r *Request) string {
	w := *r
	w.TimeLeft = time.Duration(milliseconds(r.TimeLeft)) * time.Millisecond
	w.RawBody = r.RawBody && r.BodyKind == BodyWhole
	w.Fields, w.Trailers = wantFields(e, r.Fields), wantFields(e, r.Trailers)
	for i := range w.Fields {
		if isContentLength(w.Fields[i].Name) && w.BodyKind == BodyWhole {
			w.Fields[i].Value = digitsOf(len(w.Body))
		}
	}
	return dump(&Record{Type: TypeRequest, ID: id, Request: w})
}

func wantFields(e *Encoder, fields []Field) []Field {
	out := append([]Field(nil), fields...)
	for i := range out {
		out[i].Secret = isSecret(e, out[i]) && !isContentLength(out[i].Name)
	}
	return out
}
