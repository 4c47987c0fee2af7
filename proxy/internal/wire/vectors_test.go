package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// vector is one case of a file in testdata/v1. The bytes are those of a hop stream, batches with codec
// 0 one after the other. They were written from PROTOCOL.md, not by the encoder.
//
// Lines: "comment:"; "dict:" entries and bytes; "limits:" batch, fields, field bytes, target; "expect:"
// ok, or error, its code and the start of its message; "want:" a record, see dump; "encode:" same
// if the encoder makes the same bytes of the records, equal if it makes longer or shorter ones that
// decode to the same records, none if they cannot be encoded. All others are hex, "#" begins a remark.
type vector struct {
	file, comment  string
	expect, encode string
	want           []string
	dict           DictLimits
	limits         Limits
	stream         []byte
}

func vectors(tb testing.TB) []*vector {
	tb.Helper()
	files, err := filepath.Glob("testdata/v1/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no vectors: %v", err)
	}
	var all []*vector
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			tb.Fatal(err)
		}
		for part := range strings.SplitSeq(string(text), "---\n") {
			v, err := parseVector(part)
			if err != nil {
				tb.Fatalf("%s: %s: %v", file, v.comment, err)
			}
			v.file = filepath.Base(file)
			all = append(all, v)
		}
	}
	return all
}

func parseVector(text string) (*vector, error) {
	v := &vector{dict: DictLimits{DefaultDictEntries, DefaultDictBytes}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		key, value, _ := strings.Cut(line, ": ")
		var err error
		switch key {
		case "comment":
			v.comment = value
		case "expect":
			v.expect = value
		case "encode":
			v.encode = value
		case "want":
			v.want = append(v.want, value)
		case "dict":
			_, err = fmt.Sscan(value, &v.dict.Entries, &v.dict.Bytes)
		case "limits":
			l := &v.limits
			_, err = fmt.Sscan(value, &l.Batch, &l.Fields, &l.FieldBytes, &l.Target)
		default:
			var p []byte
			p, err = parseHex(line)
			v.stream = append(v.stream, p...)
		}
		if err != nil {
			return v, err
		}
	}
	if v.comment == "" || v.expect == "" {
		return v, errors.New("incomplete")
	}
	return v, nil
}

func parseHex(line string) ([]byte, error) {
	line, _, _ = strings.Cut(line, "#")
	return hex.DecodeString(strings.ReplaceAll(line, " ", ""))
}

// TestVectors decodes every vector and, where it can be, encodes what came out.
func TestVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.file+"/"+v.comment, func(t *testing.T) {
			batches, got, err := v.decode()
			if !equalStrings(got, v.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(v.want, "\n"))
			}
			if want, isError := strings.CutPrefix(v.expect, "error "); isError {
				if e, ok := errors.AsType[*Error](err); !ok || !strings.HasPrefix(e.Code.String()+" "+e.Msg, want) {
					t.Errorf("got error %v; want %s", err, want)
				}
				return
			}
			if err != nil {
				t.Fatalf("got %v; want no error", err)
			}
			v.checkEncode(t, batches)
		})
	}
}

// decode returns the batches, and a line per record, up to the first error.
func (v *vector) decode() (batches []Batch, lines []string, err error) {
	d := NewDecoder(v.dict, v.limits)
	for p := v.stream; len(p) > 0; {
		var b Batch
		if b, p, err = cutBatch(p, v.limits.withDefaults().Batch); err != nil {
			return batches, lines, err
		}
		batches = append(batches, b)
		got, err := decodeBatch(d, b)
		lines = append(lines, got...)
		if err != nil {
			return batches, lines, err
		}
	}
	return batches, lines, nil
}

func cutBatch(p []byte, limit int) (b Batch, rest []byte, err error) {
	h, err := ParseHeader(p, limit)
	if err != nil {
		return b, nil, err
	}
	p = p[HeaderSize:]
	if h.Codec != 0 || len(p) < h.Plain+h.Raw {
		return b, nil, io.ErrUnexpectedEOF
	}
	b = Batch{Shared: p[:h.Plain], Raw: p[h.Plain : h.Plain+h.Raw], Clear: h.Clear}
	if Checksum(b.Shared, b.Raw) != h.Sum {
		return b, nil, &Error{ResetProtocol, 10, "wrong sum"}
	}
	return b, p[h.Plain+h.Raw:], nil
}

func decodeBatch(d *Decoder, b Batch) (lines []string, err error) {
	var rec Record
	for d.Reset(b.Shared, b.Raw, b.Clear); ; {
		if err := d.Next(&rec); err == io.EOF {
			return lines, nil
		} else if err != nil {
			return lines, err
		}
		lines = append(lines, dump(&rec))
	}
}

func (v *vector) checkEncode(t *testing.T, batches []Batch) {
	if v.encode == "none" {
		return
	}
	out := encodeAgain(t, v.dict, v.limits, batches)
	d := NewDecoder(v.dict, v.limits)
	var again []string
	for i := range out {
		if v.encode == "same" && !(bytes.Equal(out[i].Shared, batches[i].Shared) &&
			bytes.Equal(out[i].Raw, batches[i].Raw) && out[i].Clear == batches[i].Clear) {
			t.Errorf("batch %d: encoded\n%x %x; want\n%x %x", i, out[i].Shared, out[i].Raw, batches[i].Shared, batches[i].Raw)
		}
		got, err := decodeBatch(d, out[i])
		if err != nil {
			t.Fatalf("batch %d: decode what was encoded: %v", i, err)
		}
		again = append(again, got...)
	}
	if !equalStrings(again, v.want) {
		t.Errorf("encoded and decoded again\n%s\nwant\n%s", strings.Join(again, "\n"), strings.Join(v.want, "\n"))
	}
}

// encodeAgain decodes the batches, which decode without an error, and encodes their records, batch
// by batch.
func encodeAgain(tb testing.TB, dl DictLimits, l Limits, batches []Batch) []Batch {
	tb.Helper()
	d, e := NewDecoder(dl, l), NewEncoder(dl)
	out := make([]Batch, len(batches))
	var rec Record
	for i, b := range batches {
		if b.Clear {
			e.Clear()
		}
		for d.Reset(b.Shared, b.Raw, b.Clear); ; {
			err := d.Next(&rec)
			if err == io.EOF {
				break
			} else if err != nil {
				tb.Fatal(err)
			}
			appendRecord(e, &out[i], &rec)
		}
	}
	return out
}

func appendRecord(e *Encoder, b *Batch, rec *Record) {
	switch rec.Type {
	case TypeRequest:
		e.AppendRequest(b, &rec.Request)
	case TypeResponse:
		e.AppendResponse(b, rec.ID, &rec.Response)
	case TypeBodyOnStream:
		e.AppendBodyOnStream(b, rec.ID, &rec.Response)
	case TypeOpenForExchange:
		e.AppendOpenForExchange(b, rec.ID, &rec.Response)
	case TypeCancel:
		e.AppendCancel(b, rec.ID)
	case TypeFailed:
		e.AppendFailed(b, rec.ID, rec.Code, string(rec.Text))
	case TypeNotStarted:
		e.AppendNotStarted(b, rec.ID, rec.Code, rec.After)
	case TypeDrain:
		e.AppendDrain(b, rec.ID)
	case TypePing:
		e.AppendPing(b, rec.Ping)
	case TypePong:
		e.AppendPong(b, rec.Ping)
	case TypeData:
		e.AppendData(b, rec.Data, rec.DataRaw)
	case TypeEnd:
		e.AppendEnd(b, rec.Trailers)
	case TypeRelease:
		e.AppendRelease(b, rec.Stream)
	case TypeHealth:
		e.AppendHealth(b, rec.Share)
	}
}

// TestVectorsCutShort cuts each section of each batch after every byte: the records before the cut
// come out as they are, or there is an error, and never anything else.
func TestVectorsCutShort(t *testing.T) {
	for _, v := range vectors(t) {
		batches, full, _ := v.decode()
		for last := range batches {
			for k := range batches[last].Shared {
				v.checkCut(t, full, batches[:last], Batch{Shared: batches[last].Shared[:k], Raw: batches[last].Raw, Clear: batches[last].Clear})
			}
			for k := range batches[last].Raw {
				v.checkCut(t, full, batches[:last], Batch{Shared: batches[last].Shared, Raw: batches[last].Raw[:k], Clear: batches[last].Clear})
			}
		}
		for k := range min(len(v.stream), HeaderSize) {
			if _, err := ParseHeader(v.stream[:k], maxBatch); err != io.ErrUnexpectedEOF {
				t.Errorf("%s: header of %d bytes: got %v", v.comment, k, err)
			}
		}
	}
}

func (v *vector) checkCut(t *testing.T, full []string, before []Batch, cut Batch) {
	d := NewDecoder(v.dict, v.limits)
	var got []string
	for _, b := range before {
		lines, err := decodeBatch(d, b)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, lines...)
	}
	lines, err := decodeBatch(d, cut)
	got = append(got, lines...)
	if len(got) > len(full) || !equalStrings(got, full[:len(got)]) {
		t.Errorf("%s: cut to %x %x: got\n%s", v.comment, cut.Shared, cut.Raw, strings.Join(got, "\n"))
	}
	if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Offset > len(cut.Shared)) {
		t.Errorf("%s: cut to %x %x: got error %v", v.comment, cut.Shared, cut.Raw, err)
	}
}

// TestProtocolExamples finds the examples of section 10 among the vectors.
func TestProtocolExamples(t *testing.T) {
	text, err := os.ReadFile("../../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## 10. ")
	examples := 0
	for block := range strings.SplitSeq(section, "\n\n") {
		if !strings.HasPrefix(block, "    ") {
			continue
		}
		examples++
		var example []byte
		for line := range strings.Lines(block) {
			p, err := parseHex(strings.TrimSpace(line))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			example = append(example, p...)
		}
		if !inVectors(t, example) {
			t.Errorf("no vector holds the example %x", example)
		}
	}
	if examples < 3 {
		t.Errorf("got %d examples; want 3", examples)
	}
}

func inVectors(t *testing.T, example []byte) bool {
	for _, v := range vectors(t) {
		if v.expect == "ok" && bytes.Contains(v.stream, example) {
			return true
		}
	}
	return false
}

func equalStrings(a, b []string) bool { return strings.Join(a, "\n") == strings.Join(b, "\n") }
