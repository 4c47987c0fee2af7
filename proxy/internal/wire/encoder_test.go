package wire

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

func digitsOf(n int) []byte { return strconv.AppendInt(nil, int64(n), 10) }

// TestSecretsNeverEnterShared sends each secret three times, in the cases names come in, so that it is
// sent as a literal, inserted and referred to.
func TestSecretsNeverEnterShared(t *testing.T) {
	names := append([]string{"X-Mine", "X-Yours"}, secretNames[:]...)
	for _, name := range names {
		for _, name := range []string{name, strings.ToLower(name), strings.ToUpper(name)} {
			for _, value := range []string{"s3cret", "Basic s3cret-0123456789", "Bearer s3cret-0123456789abcdef"} {
				e := NewEncoder(DictLimits{DefaultDictEntries, DefaultDictBytes})
				e.SetSecrets([]string{"X-MINE", ":authority", "Content-Length"})
				f := Field{[]byte(name), []byte(value), strings.EqualFold(name, "X-Yours")}
				var b Batch
				for i := range 3 {
					e.AppendRequest(&b, &Request{Method: []byte("GET"), Target: []byte("/"), Authority: []byte("h"), Fields: []Field{f}})
					e.AppendResponse(&b, uint32(i+1), &Response{Status: 200, Fields: []Field{f}, BodyKind: BodyWhole, Trailers: []Field{f}})
					e.AppendEnd(&b, []Field{f})
				}
				if bytes.Contains(b.Shared, []byte("s3cret")) {
					t.Errorf("%s: %s is in the shared section", name, value)
				}
				lines, err := decodeBatch(NewDecoder(e.index.limits, Limits{}), b)
				if want := fmt.Sprintf("[%s! %s]", name, value); err != nil || strings.Count(strings.Join(lines, " "), want) != 12 {
					t.Errorf("got %v %q; want 12 times %s", err, lines, want)
				}
				isIndexed := len(b.Raw) < 12*len(value)
				if want := strings.HasPrefix(value, "Bearer") || strings.HasPrefix(value, "Basic") && !strings.EqualFold(name, "Authorization"); isIndexed != want {
					t.Errorf("%s: %s: indexed %v; want %v", name, value, isIndexed, want)
				}
			}
		}
	}
}

// TestExtraSecretsOfAnyLength: a name too long for the protocol is looked up without harm.
func TestExtraSecretsOfAnyLength(t *testing.T) {
	e := NewEncoder(DictLimits{})
	long := strings.Repeat("x", maxName)
	e.SetSecrets([]string{long})
	if !e.isExtraSecret([]byte(strings.ToUpper(long))) || e.isExtraSecret([]byte(long+"x")) {
		t.Error("a name of 255 bytes is not found, or one of 256 is")
	}
}

// TestSecrecyIsNotMixed: a field that is secret once and not another time has an entry for each.
func TestSecrecyIsNotMixed(t *testing.T) {
	e := NewEncoder(DictLimits{DefaultDictEntries, DefaultDictBytes})
	d := NewDecoder(DictLimits{DefaultDictEntries, DefaultDictBytes}, Limits{})
	for i := range 12 {
		f := Field{[]byte("X-Token"), []byte("0123456789-0123456789"), i%3 == 0}
		var b Batch
		e.AppendEnd(&b, []Field{f})
		lines, err := decodeBatch(d, b)
		if want := dump(&Record{Type: TypeEnd, Trailers: []Field{f}}); err != nil || lines[0] != want {
			t.Fatalf("got %v %q; want %q", err, lines, want)
		}
	}
}

func TestSetSecretsForgetsWhatWasNone(t *testing.T) {
	e := NewEncoder(DictLimits{DefaultDictEntries, DefaultDictBytes})
	f := []Field{{Name: []byte("X-Late"), Value: []byte("0123456789-0123456789")}}
	var b Batch
	e.AppendEnd(&b, f)
	e.AppendEnd(&b, f)
	e.SetSecrets([]string{"x-late"})
	b = Batch{}
	e.AppendEnd(&b, f)
	if !b.Clear || len(b.Raw) != len(f[0].Value) {
		t.Errorf("got clear %v, raw %q; want the dictionary cleared and the value raw", b.Clear, b.Raw)
	}
}

// TestClearWaitsForTheNextBatch: records already in a batch refer to the dictionary it began with.
func TestClearWaitsForTheNextBatch(t *testing.T) {
	limits := DictLimits{DefaultDictEntries, DefaultDictBytes}
	e, d := NewEncoder(limits), NewDecoder(limits, Limits{})
	r := apiRequest()
	var b Batch
	e.AppendRequest(&b, r)
	e.AppendRequest(&b, r)
	e.Clear()
	if e.AppendRequest(&b, r); b.Clear {
		t.Error("the batch with records got Clear")
	}
	next := Batch{}
	if id := e.AppendRequest(&next, r); !next.Clear || id != 4 {
		t.Errorf("got clear %v, id %d; want true, 4", next.Clear, id)
	}
	last := Batch{}
	if e.AppendRequest(&last, r); last.Clear {
		t.Error("the batch after got Clear as well")
	}
	for _, b := range []Batch{b, next, last} {
		if _, err := decodeBatch(d, b); err != nil {
			t.Fatal(err)
		}
	}
	compareDicts(t, &e.index, &d.dict)
}

// TestRecordLengths crosses the sizes at which a record's length takes a byte more, with and without
// trailers, which are encoded after the body was copied.
func TestRecordLengths(t *testing.T) {
	trailers := []Field{{Name: []byte("X-Sum"), Value: []byte("1")}}
	for _, edge := range []int{0, 1 << 7, 1 << 14, 1 << 21} {
		for size := max(0, edge-24); size < edge+1; size++ {
			body := bytes.Repeat([]byte("b"), size)
			for _, r := range []*Response{
				{Status: 200, BodyKind: BodyWhole, Body: body},
				{Status: 200, BodyKind: BodyWhole, Body: body, Trailers: trailers},
				{Status: 200, BodyKind: BodyWhole, Body: body, RawBody: true},
			} {
				e, b := NewEncoder(DictLimits{}), Batch{}
				e.AppendPing(&b, [8]byte{1})
				e.AppendResponse(&b, 1, r)
				e.AppendPing(&b, [8]byte{2})
				if err := decodeBetweenPings(b, r); err != io.EOF {
					t.Fatalf("body of %d bytes, %d trailers: %v", size, len(r.Trailers), err)
				}
				if n := len(b.Shared) + len(b.Raw) - 20; n > r.Bound() {
					t.Fatalf("took %d bytes, over the bound %d", n, r.Bound())
				}
			}
		}
	}
}

func decodeBetweenPings(b Batch, want *Response) error {
	d := NewDecoder(DictLimits{}, Limits{})
	d.Reset(b.Shared, b.Raw, b.Clear)
	var first, rec, last Record
	for _, rec := range []*Record{&first, &rec, &last} {
		if err := d.Next(rec); err != nil {
			return err
		}
	}
	r := &rec.Response
	if first.Ping[0] != 1 || last.Ping[0] != 2 || !bytes.Equal(r.Body, want.Body) || len(r.Trailers) != len(want.Trailers) {
		return fmt.Errorf("got another response of %d bytes, %d trailers", len(r.Body), len(r.Trailers))
	}
	return d.Next(&rec)
}

func TestTimeLeftRoundsUp(t *testing.T) {
	for _, c := range []struct {
		left time.Duration
		want uint32
	}{
		{-1, 0}, {0, 0}, {1, 1}, {time.Millisecond, 1}, {time.Millisecond + 1, 2}, {time.Second, 1000},
		{1<<63 - 1, 1<<32 - 1},
	} {
		if got := milliseconds(c.left); got != c.want {
			t.Errorf("%v: got %d; want %d", c.left, got, c.want)
		}
	}
}

func TestFailedTextIsCut(t *testing.T) {
	e, b := NewEncoder(DictLimits{}), Batch{}
	e.AppendFailed(&b, 1, CodeLoop, strings.Repeat("x", 1000))
	lines, err := decodeBatch(NewDecoder(DictLimits{}, Limits{}), b)
	if err != nil || len(lines[0]) != len(`failed 1 loop ""`)+maxText {
		t.Errorf("got %v %q", err, lines)
	}
}
