package wire

import (
	"testing"
	"time"
)

// apiRequest is a typical request of an API client: eight fields that all repeat.
func apiRequest() *Request {
	return &Request{
		Method: []byte("GET"), Target: []byte("/api/v1/items/4711?fields=id,name,price"),
		Authority: []byte("api.example.com"), TimeLeft: 30 * time.Second,
		Fields: []Field{
			{Name: []byte("User-Agent"), Value: []byte("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")},
			{Name: []byte("Accept"), Value: []byte("application/json, text/plain, */*")},
			{Name: []byte("Accept-Language"), Value: []byte("en-US,en;q=0.5")},
			{Name: []byte("Accept-Encoding"), Value: []byte("gzip, deflate, br")},
			{Name: []byte("Referer"), Value: []byte("https://www.example.com/shop/")},
			{Name: []byte("Cookie"), Value: []byte("session=0123456789abcdef0123456789abcdef; theme=dark")},
			{Name: []byte("X-Client-Version"), Value: []byte("7.12.3")},
			{Name: []byte("X-Forwarded-For"), Value: []byte("203.0.113.7")},
		},
	}
}

// apiResponse has four fields that repeat, two that do not, and a body of 300 bytes.
func apiResponse() *Response {
	body := make([]byte, 300)
	for i := range body {
		body[i] = "{\"id\":4711,\"name\":\"thing\"}"[i%26]
	}
	return &Response{
		Status: 200, BodyKind: BodyWhole, Body: body,
		Fields: []Field{
			{Name: []byte("Content-Type"), Value: []byte("application/json; charset=utf-8")},
			{Name: []byte("Content-Length"), Value: []byte("300")},
			{Name: []byte("Cache-Control"), Value: []byte("private, max-age=0")},
			{Name: []byte("Vary"), Value: []byte("Accept-Encoding, Origin")},
			{Name: []byte("Server"), Value: []byte("nginx")},
			{Name: []byte("X-Request-Id"), Value: []byte("00000000-0000-0000-0000-000000000000")},
		},
	}
}

// renew gives the response an id of its own.
func renew(r *Response, i uint32) {
	v := r.Fields[5].Value
	for k := range 8 {
		v[k] = "0123456789abcdef"[i>>(4*k)&15]
	}
}

const benchDictBytes, benchDictEntries = DefaultDictBytes, DefaultDictEntries

func BenchmarkAppend(b *testing.B) {
	b.Run("record=request/fields=8", func(b *testing.B) {
		e, r, batch := NewEncoder(DictLimits{benchDictEntries, benchDictBytes}), apiRequest(), &Batch{}
		for range 3 {
			e.AppendRequest(batch, r)
		}
		b.ReportAllocs()
		for b.Loop() {
			batch.Shared, batch.Raw = batch.Shared[:0], batch.Raw[:0]
			e.AppendRequest(batch, r)
		}
		b.ReportMetric(float64(len(batch.Shared)+len(batch.Raw)), "wire-bytes")
	})
	b.Run("record=response/fields=6", func(b *testing.B) {
		e, r, batch := NewEncoder(DictLimits{benchDictEntries, benchDictBytes}), apiResponse(), &Batch{}
		for range 3 {
			e.AppendResponse(batch, 1, r)
		}
		b.ReportAllocs()
		for i := uint32(1); b.Loop(); i++ {
			batch.Shared, batch.Raw = batch.Shared[:0], batch.Raw[:0]
			renew(r, i)
			e.AppendResponse(batch, i, r)
		}
		b.ReportMetric(float64(len(batch.Shared)+len(batch.Raw)), "wire-bytes")
	})
}

func BenchmarkNext(b *testing.B) {
	decode := func(b *testing.B, d *Decoder, batch *Batch) {
		var rec Record
		b.ReportAllocs()
		for b.Loop() {
			d.Reset(batch.Shared, batch.Raw, false)
			if err := d.Next(&rec); err != nil {
				b.Fatal(err)
			}
			d.base = 0
		}
		b.ReportMetric(float64(len(batch.Shared)+len(batch.Raw)), "wire-bytes")
	}
	b.Run("record=request/fields=8", func(b *testing.B) {
		e, d, r := NewEncoder(DictLimits{benchDictEntries, benchDictBytes}), NewDecoder(DictLimits{benchDictEntries, benchDictBytes}, Limits{}), apiRequest()
		batch := steady(b, d, func(batch *Batch) { e.AppendRequest(batch, r) })
		decode(b, d, batch)
	})
	b.Run("record=response/fields=6", func(b *testing.B) {
		e, d, r := NewEncoder(DictLimits{benchDictEntries, benchDictBytes}), NewDecoder(DictLimits{benchDictEntries, benchDictBytes}, Limits{}), apiResponse()
		i := uint32(0)
		batch := steady(b, d, func(batch *Batch) { i++; renew(r, i); e.AppendResponse(batch, i, r) })
		decode(b, d, batch)
	})
}

// steady passes three batches through d, after which both dictionaries know what repeats, and returns
// a fourth.
func steady(tb testing.TB, d *Decoder, fill func(*Batch)) *Batch {
	tb.Helper()
	var rec Record
	for range 3 {
		batch := &Batch{}
		fill(batch)
		d.Reset(batch.Shared, batch.Raw, batch.Clear)
		if err := d.Next(&rec); err != nil {
			tb.Fatal(err)
		}
	}
	batch := &Batch{}
	fill(batch)
	return batch
}
