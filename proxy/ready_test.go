package proxy

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
)

// lockedBuffer holds a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// The batched stream may end before the stream that its last record named was seen.
func TestNamedBodyOutlivesItsBatchedStream(t *testing.T) {
	b := startBodies(t)
	f, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}})
	got := asked(t, addr)
	ss := await(t, b.batchc, "a batched stream")
	ss.want("/it")
	s := await(t, b.readyc, "a ready stream")
	ss.name(1, 7)
	ss.s.CloseWrite()
	await(t, b.batchc, "the batched stream after it")
	fill(s, 7, "body", true)
	if got := await(t, got, "the answer"); got != "200 body" {
		t.Errorf("got %q; want the body", got)
	}
	for range 3 { // nobody wants the others
		s := await(t, b.readyc, "a ready stream")
		if s.Header().Value("h2tp-session") != "session" {
			t.Error("no session")
		}
	}
	awaitNone(t, f.route)
}

// A hop that takes no ready streams, as behind an intermediary that spreads streams
// over backs, is asked once and costs a line of the log; bodies come all the same.
func TestRefusedReadyStreamsAreLoggedOnce(t *testing.T) {
	b := startBodies(t)
	var log lockedBuffer
	_, addr := startFront(t, Config{To: []string{"h2tpc://" + b.addr}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ss := await(t, b.batchc, "a batched stream")
	done := make(chan struct{})
	var tried atomic.Int32
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case s := <-b.readyc:
				tried.Add(1)
				s.Refuse(421, "unknown session\n", pool.Field{Name: "h2tp-error", Value: "session"})
			case <-done:
				return
			}
		}
	})
	defer wg.Wait()
	defer close(done)
	awaitTrue(t, func() bool { return strings.Contains(log.String(), "no ready streams") }, "the line")
	got := asked(t, addr)
	ss.want("/it")
	ss.ask(1)
	fill(await(t, b.openc, "a stream for the exchange"), 0, "body", true)
	if got := await(t, got, "the answer"); got != "200 body" {
		t.Errorf("got %q; want the body", got)
	}
	// Each of four was tried twice at most, the second time on the same connection.
	if n := strings.Count(log.String(), "no ready streams"); n != 1 || tried.Load() > 8 {
		t.Errorf("%d lines, %d streams tried: %s", n, tried.Load(), log.String())
	}
}

// What is idle for 45 s is replaced, by the back at the front's word, and costs
// neither error nor line; at the end nothing is left at either end.
func TestIdleReadyStreamsAreReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemNet()
		back := startBack(t, m, Config{Handler: okHandler})
		f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: m.dial})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		synctest.Wait()
		p := f.route.dests()[0].(*peer)
		r, bs := p.stream.ready, back.list()[0]
		old, id := bs.ready.Acquire()
		time.Sleep(45*time.Second + 100*time.Millisecond)
		synctest.Wait()
		if r.Ready() != 4 || bs.ready.Ready() != 4 || r.Errors() != 0 {
			t.Errorf("%d and %d ready, %d errors: %v; want 4", r.Ready(), bs.ready.Ready(), r.Errors(), r.Err())
		}
		select {
		case <-old.Done():
			t.Error("a stream that was acquired has ended")
		default:
		}
		if _, err := r.Take(t.Context(), id); err != nil {
			t.Error(err)
		}
		time.Sleep(10 * time.Minute)
		if r.Ready() != 4 || bs.ready.Ready() != 4 || r.Errors() != 0 || p.bulk.Stats().Streams != 5 {
			t.Errorf("%d and %d ready, %d errors, %d streams", r.Ready(), bs.ready.Ready(), r.Errors(), p.bulk.Stats().Streams)
		}
		f.Close()
		synctest.Wait()
		if bs.ready.Ready() != 0 || bs.ready.Active() != 0 || r.Ready() != 0 {
			t.Errorf("%d and %d at the back, %d at the front are left", bs.ready.Ready(), bs.ready.Active(), r.Ready())
		}
	})
}

// Large responses at once make for more ready streams.
func TestReadyStreamsFollowDemand(t *testing.T) {
	const wave = 16
	begunc, endc := make(chan struct{}), make(chan struct{})
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Write(make([]byte, 100_000))
		w.(http.Flusher).Flush()
		begunc <- struct{}{}
		<-endc
	})
	p := startPair(t, up, Config{Hop: Hop{MaxReady: wave}}, Config{Hop: Hop{MaxReady: wave}})
	hop := p.front.route.dests()[0].(*peer)
	awaitTrue(t, func() bool { return hop.isUp(0) }, "the hop")
	hop.mu.Lock()
	r := hop.stream.ready
	hop.mu.Unlock()
	end := time.Now().Add(patience)
	for r.Capacity() < wave && time.Now().Before(end) {
		var answers []<-chan string
		for range wave {
			answers = append(answers, asked(t, p.addr))
		}
		for range wave {
			await(t, begunc, "a response")
		}
		for range wave {
			endc <- struct{}{}
		}
		for _, c := range answers {
			if got := await(t, c, "the answer"); len(got) != len("200 ")+100_000 {
				t.Errorf("got %d bytes", len(got))
			}
		}
	}
	if n := r.Capacity(); n != wave {
		t.Errorf("capacity is %d after waves of %d", n, wave)
	}
	awaitNone(t, p.front.route)
	if n := r.Ready(); n > wave {
		t.Errorf("%d are ready; want %d at most", n, wave)
	}
}

// More compressed responses at once than there is memory for decoders come all the
// same: a ready stream announces zstd only with a decoder in hand, and those without
// leave half of the memory to streams that are in use.
func TestReadyStreamsHaveMemoryForWhatTheyAnnounce(t *testing.T) {
	const wave = 40
	text := strings.Repeat("Text that a codec makes small.", 4_000)
	begunc, endc := make(chan struct{}), make(chan struct{})
	up := startUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, text)
		w.(http.Flusher).Flush()
		begunc <- struct{}{}
		<-endc
		io.WriteString(w, text)
	})
	fm := compress.NewMemory(8 << 20)
	p := startPair(t, up, Config{Hop: Hop{Memory: fm}}, Config{Hop: Hop{Memory: compress.NewMemory(-1)}})
	hop := p.front.route.dests()[0].(*peer)
	awaitTrue(t, func() bool { return hop.isUp(0) }, "the hop")
	for range 3 { // there are more ready streams each time
		var answers []<-chan string
		for range wave {
			answers = append(answers, asked(t, p.addr))
		}
		for range wave {
			await(t, begunc, "a response")
		}
		for range wave {
			endc <- struct{}{}
		}
		for _, c := range answers {
			if got := await(t, c, "the answer"); got != "200 "+text+text {
				t.Errorf("got %d bytes, %.20q; want %d", len(got), got, 4+2*len(text))
			}
		}
	}
	awaitNone(t, p.front.route)
	if n := fm.Used(); n > fm.Limit()/2+4<<20 {
		t.Errorf("ready streams and the session hold %d; want about half of %d", n, fm.Limit())
	}
	p.front.Close()
	if n := fm.Used(); n != 0 {
		t.Errorf("held after the end: %d; want 0", n)
	}
}

// A reader is let go with the stream it was made for, however that ends untaken.
func TestReadersOfReadyStreamsEndWithThem(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newMemNet()
		back := startBack(t, m, Config{Handler: okHandler})
		mem := compress.NewMemory(64 << 20)
		f, err := NewFront(Config{To: []string{"h2tpc://back:1"}, Dial: m.dial, Hop: Hop{Memory: mem}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		synctest.Wait()
		ps, bs := f.route.dests()[0].(*peer).stream, back.list()[0]
		readers := func() int {
			ps.readers.mu.Lock()
			defer ps.readers.mu.Unlock()
			return len(ps.readers.m)
		}
		began := mem.Used()
		s, _ := bs.ready.Acquire()
		s.Reset(codeCancel) // an intermediary does as much
		_, id := bs.ready.Acquire()
		ps.ready.Drop(id)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := readers(); n != 4 || mem.Used() != began {
			t.Errorf("after a reset and a drop: %d readers, %d bytes; want 4, %d", n, mem.Used(), began)
		}
		time.Sleep(10 * time.Minute) // each is replaced some times
		synctest.Wait()
		if n := readers(); n != 4 {
			t.Errorf("after a while: %d readers; want 4", n)
		}
		f.Close()
		synctest.Wait()
		if n := readers(); n != 0 || mem.Used() != 0 {
			t.Errorf("at the end: %d readers, %d bytes", n, mem.Used())
		}
	})
}
