package wire

import (
	"fmt"
	"strings"
)

// dump writes a record as the "want:" lines of the vectors do. "!" stands for ":" after the name of a
// secret field, "@" before the authority.
func dump(rec *Record) string {
	var s strings.Builder
	s.WriteString(rec.Type.String())
	if rec.ID != 0 || rec.Type == TypeDrain {
		fmt.Fprintf(&s, " %d", rec.ID)
	}
	switch {
	case rec.Type == TypeRequest:
		r := &rec.Request
		fmt.Fprintf(&s, " %s %s @%s", r.Method, r.Target, r.Authority)
		if r.TimeLeft != 0 {
			fmt.Fprintf(&s, " left=%v", r.TimeLeft)
		}
	case rec.Type == TypeFailed:
		fmt.Fprintf(&s, " %v %q", rec.Code, rec.Text)
	case rec.Type == TypeNotStarted:
		fmt.Fprintf(&s, " %v after=%d", rec.Code, rec.After)
	case rec.Type == TypePing || rec.Type == TypePong:
		fmt.Fprintf(&s, " %x", rec.Ping)
	case rec.Type == TypeData && rec.DataRaw:
		fmt.Fprintf(&s, " raw=%q", rec.Data)
	case rec.Type == TypeData:
		fmt.Fprintf(&s, " %q", rec.Data)
	case rec.Type == TypeHealth:
		fmt.Fprintf(&s, " %d", rec.Share)
	case rec.Type == TypeRelease:
		fmt.Fprintf(&s, " %08x", rec.Stream)
	}
	switch rec.Type {
	case TypeRequest:
		r := &rec.Request
		dumpFields(&s, "", r.Fields)
		dumpBody(&s, r.BodyKind, r.RawBody, r.Body)
		dumpFields(&s, "trailer", r.Trailers)
	case TypeResponse, TypeBodyOnStream, TypeOpenForExchange:
		r := &rec.Response
		fmt.Fprintf(&s, " %d", r.Status)
		if r.Reason != nil {
			fmt.Fprintf(&s, " reason=%q", r.Reason)
		}
		dumpFields(&s, "", r.Fields)
		dumpBody(&s, r.BodyKind, r.RawBody, r.Body)
		dumpFields(&s, "trailer", r.Trailers)
		if rec.Type == TypeBodyOnStream {
			fmt.Fprintf(&s, " stream=%08x", r.Stream)
		}
	case TypeEnd:
		dumpFields(&s, "trailer", rec.Trailers)
	}
	if rec.Over != OverNone {
		fmt.Fprintf(&s, " over=%v", rec.Over)
	}
	return s.String()
}

func dumpFields(s *strings.Builder, prefix string, fields []Field) {
	for _, f := range fields {
		mark := ":"
		if f.Secret {
			mark = "!"
		}
		fmt.Fprintf(s, " %s[%s%s %s]", prefix, f.Name, mark, f.Value)
	}
}

func fieldText(f *Field) string {
	var s strings.Builder
	dumpFields(&s, "", []Field{*f})
	return s.String()
}

func dumpBody(s *strings.Builder, kind Body, isRaw bool, p []byte) {
	switch {
	case kind == BodyFollows:
		s.WriteString(" follows")
	case kind == BodyWhole && isRaw:
		fmt.Fprintf(s, " raw=%q", p)
	case kind == BodyWhole:
		fmt.Fprintf(s, " body=%q", p)
	}
}
