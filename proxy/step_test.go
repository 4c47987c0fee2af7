package proxy

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valyala/fasthttp"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// rawStream is a scripted front: it opens a batched stream and sends bytes of
// its own making.
type rawStream struct {
	t      testing.TB
	s      *pool.Stream
	closed chan error

	mu   sync.Mutex
	recs []string // type and id of what came
	got  chan struct{}
	u    unbatcher
}

func openRaw(t testing.TB, addr string) *rawStream {
	t.Helper()
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cl.Close() })
	r := &rawStream{t: t, closed: make(chan error, 1), got: make(chan struct{}, 1000)}
	h := Hop{Memory: compress.NewMemory(1 << 26)}
	r.u.init(&h, &route{memory: &budget{limit: 1 << 30}}, ownTerms(), ownTerms(), r.onRecord)
	s, err := cl.Open(t.Context(), pool.Header{Path: pathBatch, Fields: ownTerms().fields()}, r)
	if err != nil {
		t.Fatal(err)
	}
	r.s = s
	return r
}

func (r *rawStream) Receive(p []byte) error { return r.u.receive(p) }
func (r *rawStream) Closed(err error)       { r.closed <- err }
func (r *rawStream) onRecord(rec *wire.Record) error {
	r.mu.Lock()
	r.recs = append(r.recs, rec.Type.String())
	r.mu.Unlock()
	r.got <- struct{}{}
	return nil
}

// await waits for the next record.
func (r *rawStream) await() {
	r.t.Helper()
	select {
	case <-r.got:
	case err := <-r.closed:
		r.t.Fatalf("stream ended: %v", err)
	case <-time.After(5 * time.Second):
		r.t.Fatal("no record came")
	}
}

// awaitEnd waits for the stream's end and returns its reason.
func (r *rawStream) awaitEnd() error {
	r.t.Helper()
	select {
	case err := <-r.closed:
		return err
	case <-time.After(5 * time.Second):
		r.t.Fatal("the stream lives on")
		return nil
	}
}

// encode makes the bytes of one batch.
func encode(t testing.TB, b *wire.Batch, enc *compress.Encoder, anew bool) []byte {
	t.Helper()
	h := wire.Header{Clear: b.Clear, Plain: len(b.Shared), Raw: len(b.Raw), Sum: wire.Checksum(b.Shared, b.Raw)}
	coded := b.Shared
	if enc != nil {
		var err error
		if coded, err = enc.Encode(nil, b.Shared); err != nil {
			t.Fatal(err)
		}
		h.Codec, h.Anew = uint8(enc.ID()), anew
	}
	h.Coded = len(coded)
	out := wire.AppendHeader(nil, h)
	out = append(out, coded...)
	return append(out, b.Raw...)
}

func okHandler(ctx *fasthttp.RequestCtx) { ctx.SetBodyString("ok") }

func startHandlerBack(t testing.TB, h fasthttp.RequestHandler) (*Back, string) {
	t.Helper()
	ln := listenTCP(t)
	return startBack(t, ln, Config{Handler: h}), ln.Addr().String()
}

func getBatch(enc *wire.Encoder, target string) *wire.Batch {
	var b wire.Batch
	enc.AppendRequest(&b, &wire.Request{Method: []byte("GET"), Target: []byte(target), Authority: []byte("example.com"),
		Fields: []wire.Field{{Name: []byte("User-Agent"), Value: []byte("step/1.0 a value that is long enough")}}})
	return &b
}

func dictLimits() wire.DictLimits { l := ownTerms().limits; return l.Dict(l) }

func TestScriptedFrontIsAnswered(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	for _, id := range []compress.ID{compress.None, compress.Zstd, compress.Flate, compress.Snappy} {
		r := openRaw(t, addr)
		enc := wire.NewEncoder(dictLimits())
		var cenc *compress.Encoder
		if id != compress.None {
			cenc, _ = compress.NewMemory(1<<26).NewEncoder(id, compress.EncoderOptions{})
		}
		for i := range 5 {
			p := encode(t, getBatch(enc, "/"), cenc, i == 0)
			for len(p) > 0 { // in pieces: batch and frame boundaries are unrelated
				n := min(len(p), 7)
				r.s.Write(p[:n])
				p = p[n:]
			}
			r.await()
		}
		r.s.Close()
	}
}

// A batch that the encoder saw and that was not sent leaves the two ends apart:
// the back must find out and end the stream, not decode to wrong bytes.
func TestLostBatchEndsTheStream(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	for _, id := range []compress.ID{compress.Zstd, compress.Flate} {
		t.Run(id.String(), func(t *testing.T) {
			r := openRaw(t, addr)
			enc := wire.NewEncoder(wire.DictLimits{}) // only the codec's context is broken
			cenc, err := compress.NewMemory(1<<26).NewEncoder(id, compress.EncoderOptions{})
			if err != nil {
				t.Fatal(err)
			}
			r.s.Write(encode(t, getBatch(enc, "/first"), cenc, true))
			r.await()
			// What the lost batch alone holds is what the next one refers to.
			text := strings.Repeat("0123456789abcdefghijklmnopqrstuvwxyz", 3) + "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			encode(t, getBatch(enc, "/"+text), cenc, false)
			r.s.Write(encode(t, getBatch(enc, "/and-the-next-one?"+text), cenc, false))
			if err := r.awaitEnd(); err == io.EOF {
				t.Errorf("ended with %v; want a stream error", err)
			}
		})
	}
}

func TestLostDictionaryEntryEndsTheStream(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	r := openRaw(t, addr)
	enc := wire.NewEncoder(dictLimits())
	r.s.Write(encode(t, getBatch(enc, "/1"), nil, false))
	r.await()
	getBatch(enc, "/2") // inserts, on second sight, and is lost
	r.s.Write(encode(t, getBatch(enc, "/3"), nil, false))
	if err := r.awaitEnd(); err == io.EOF {
		t.Errorf("ended with %v; want a stream error", err)
	}
}

func TestChangedByteEndsTheStream(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	for _, id := range []compress.ID{compress.None, compress.Zstd, compress.Flate, compress.Snappy} {
		t.Run(id.String(), func(t *testing.T) {
			enc := wire.NewEncoder(dictLimits())
			var cenc *compress.Encoder
			if id != compress.None {
				cenc, _ = compress.NewMemory(1<<26).NewEncoder(id, compress.EncoderOptions{})
			}
			r := openRaw(t, addr)
			p := encode(t, getBatch(enc, "/a"), cenc, true)
			if id == compress.None {
				p = encode(t, getBatch(wire.NewEncoder(dictLimits()), "/a"), nil, false)
			}
			p[len(p)-5] ^= 1
			r.s.Write(p)
			if err := r.awaitEnd(); err == io.EOF {
				t.Errorf("ended with %v; want a stream error", err)
			}
		})
	}
}

// Garbage of every kind ends its stream, and nothing else.
func TestGarbageOnTheHopHarmsNobodyElse(t *testing.T) {
	b, addr := startHandlerBack(t, okHandler)
	good := openRaw(t, addr)
	enc := wire.NewEncoder(dictLimits())
	for _, p := range [][]byte{
		make([]byte, 64),
		{0xff, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0},
		append(wire.AppendHeader(nil, wire.Header{Plain: 2, Coded: 2, Sum: wire.Checksum([]byte{0x01, 0x00}, nil)}), 0x01, 0x00),
		append(wire.AppendHeader(nil, wire.Header{Plain: 3, Coded: 3, Sum: wire.Checksum([]byte{0x3f, 1, 0}, nil)}), 0x3f, 1, 0),
		{3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0},
		{3, 0, 0, 4, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4}, // zstd without anew
	} {
		r := openRaw(t, addr)
		r.s.Write(p)
		if err := r.awaitEnd(); err == io.EOF {
			t.Errorf("% x: ended with %v; want a stream error", p[:8], err)
		}
		good.s.Write(encode(t, getBatch(enc, "/"), nil, false))
		good.await()
	}
	good.s.Close()
	if n := b.Stats().InFlight; n != 0 {
		t.Errorf("%d exchanges left", n)
	}
}

// A cancel between append and send takes nothing out of the batch: later
// exchanges still decode, and the upstream of the cancelled one may run.
func TestCancelBetweenAppendAndSendKeepsStep(t *testing.T) {
	release := make(chan struct{})
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: func(ctx *fasthttp.RequestCtx) {
		if string(ctx.Path()) == "/slow" {
			<-release
		}
		ctx.SetBody(ctx.Request.Header.Peek("X-Tag"))
	}})
	defer close(release)
	f, err := NewFront(Config{To: []string{"h2tpc://" + ln.Addr().String()}, Hop: Hop{BatchDelay: 20 * time.Millisecond}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			var req fasthttp.Request
			var resp fasthttp.Response
			req.Header.Set("X-Tag", "a tag that several requests share")
			if i%2 == 0 { // gives up while its record waits in the batch
				req.SetRequestURI("http://x/slow")
				if err := f.DoTimeout(&req, &resp, time.Millisecond); err == nil {
					t.Error("the slow request was answered")
				}
				return
			}
			req.SetRequestURI("http://x/fast")
			if err := f.Do(&req, &resp); err != nil || string(resp.Body()) != "a tag that several requests share" {
				t.Errorf("got %q, %v", resp.Body(), err)
			}
		})
	}
	wg.Wait()
}

func TestCodecMemoryIsReleasedWithTheStream(t *testing.T) {
	fm, bm := compress.NewMemory(1<<26), compress.NewMemory(1<<26)
	ln := listenTCP(t)
	b := startBack(t, ln, Config{Handler: okHandler, Hop: Hop{Memory: bm}})
	f, err := NewFront(Config{To: []string{"h2tpc://" + ln.Addr().String()}, Hop: Hop{Memory: fm}})
	if err != nil {
		t.Fatal(err)
	}
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://x/")
	for range 3 {
		if err := f.Do(&req, &resp); err != nil {
			t.Fatal(err)
		}
	}
	if fm.Used() == 0 || bm.Used() == 0 {
		t.Errorf("in use: %d and %d; want both above 0", fm.Used(), bm.Used())
	}
	f.Close()
	b.Shutdown(t.Context())
	if fm.Used() != 0 || bm.Used() != 0 {
		t.Errorf("in use after the end: %d and %d; want 0", fm.Used(), bm.Used())
	}
}

func TestOutOfCodecMemoryIsAnsweredWithSnappyOrNone(t *testing.T) {
	tiny := compress.NewMemory(1)
	ln := listenTCP(t)
	startBack(t, ln, Config{Handler: okHandler, Hop: Hop{Memory: tiny}})
	f, err := NewFront(Config{To: []string{"h2tpc://" + ln.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var req fasthttp.Request
	var resp fasthttp.Response
	req.SetRequestURI("http://x/")
	for range 3 {
		if err := f.Do(&req, &resp); err != nil || string(resp.Body()) != "ok" {
			t.Errorf("got %q, %v", resp.Body(), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	_, addr := startHandlerBack(t, okHandler)
	cl, err := pool.NewClient(pool.ClientConfig{Common: pool.Common{Cleartext: true}, Addr: addr})
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	other := ownTerms().fields()
	other[1].Value = "7, 8"
	bad := ownTerms().fields()
	bad[3].Value = "batch=many"
	for _, tc := range []struct {
		name   string
		h      pool.Header
		status int
		token  string
	}{
		{"another path", pool.Header{Path: "/"}, 404, ""},
		{"another method", pool.Header{Method: "GET", Path: pathBatch}, 405, ""},
		{"another version", pool.Header{Path: pathBatch, Fields: other}, 400, "version"},
		{"bad limits", pool.Header{Path: pathBatch, Fields: bad}, 400, "fields"},
		{"no fields", pool.Header{Path: pathBatch, Fields: ownTerms().fields()[1:]}, 400, "fields"},
		{"unknown session", pool.Header{Path: pathBulk}, 421, "session"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := cl.Open(context.Background(), tc.h, nil)
			se, ok := err.(*pool.StatusError)
			if !ok || se.Status != tc.status || se.Header.Value("h2tp-error") != tc.token {
				t.Errorf("got %v; want %d %s", err, tc.status, tc.token)
			}
		})
	}
}
