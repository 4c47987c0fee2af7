package proxy

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/h2tp/h2tp/compress"
	"github.com/h2tp/h2tp/pool"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

const (
	// batchSize is where a batch is sealed: large enough that the codec and the
	// frame cost nothing beside it, small enough that the peer, which decodes a
	// batch when it is whole, waits little.
	batchSize = 64 << 10
	// maxQueue is what may wait to be sent on one stream before requests are refused
	// with 503.
	maxQueue = 32 << 20
	// responseQueue is what may wait before upstream connections wait with their
	// responses.
	responseQueue = 1 << 20
	// keepBuffer is the largest buffer kept for another use.
	keepBuffer = 256 << 10
	// keepBatches bounds the buffers a stream keeps after a burst.
	keepBatches = 1 << 20
	// codecIdle is after how long without a coded batch a context starts anew, so
	// that its memory can be released: PROTOCOL.md section 5.
	codecIdle = 60 * time.Second
	// minCoded is the least shared section worth the codec: below it a batch is
	// a ping or a cancel.
	minCoded = 24
)

// sender is one direction of a batched stream: it collects records into batches
// and sends them. A record is appended under mu, ids and dictionary included, and
// is then sent or the stream dies; nothing takes it out again.
type sender struct {
	// Immutable.
	stream *pool.Stream
	hop    *Hop
	theirs terms
	window int
	peer   wire.Announced
	kickc  chan struct{} // wakes flushLoop, capacity 1
	donec  chan struct{} // closed when flushLoop has ended
	sent   *wayMeter
	tune   *tuneMeter // with Auto; else nil

	// Owned by flushLoop, which changes it under mu.
	tuned tuned

	// Owned by flushLoop.
	enc    *compress.Encoder
	out    []byte
	coded  time.Time // when the codec was last used
	isAnew bool

	isFull atomic.Bool // queued is responseQueue or more

	mu         sync.Mutex // guards all below, and the embedding stream's table
	room       sync.Cond  // signalled when queued falls
	wenc       *wire.Encoder
	open       wire.Batch
	queue      []wire.Batch // sealed
	spare      []wire.Batch
	spareSize  int       // bytes in spare
	queued     int       // bytes in open and queue
	since      time.Time // when the first of them came
	lastID     uint32    // highest request id appended
	sentID     uint32    // highest request id that may have left
	pings      pings
	isSleeping bool
	isEnded    bool  // nothing more is appended; flushLoop ends the stream's side
	err        error // the stream is dead
}

func (s *sender) init(stream *pool.Stream, hop *Hop, own, peer terms) {
	s.stream, s.hop, s.peer = stream, hop, peer.limits
	s.theirs = peer
	s.tuned = tuned{peer.sendCodec(codecIDs[hop.Compress]), hop.CompressLevel}
	if hop.Compress == Auto {
		s.tune = newTuneMeter()
		s.tuned = peer.tuned(s.tune.tuner.now())
	}
	s.window = min(own.limits.Window, peer.limits.Window)
	s.kickc = make(chan struct{}, 1)
	s.donec = make(chan struct{})
	s.room.L = &s.mu
	s.wenc = wire.NewEncoder(own.limits.Dict(peer.limits))
	s.wenc.SetSecrets(hop.Secrets)
}

// appendedLocked makes sure that what was appended to open will be sent.
func (s *sender) appendedLocked(before int) {
	if s.queued == 0 {
		s.since = time.Now()
	}
	s.open.Records++
	if s.queued += len(s.open.Shared) + len(s.open.Raw) - before; s.queued >= responseQueue {
		s.isFull.Store(true)
	}
	if len(s.open.Shared)+len(s.open.Raw) >= batchSize {
		s.sealLocked()
	}
	if s.isSleeping {
		s.isSleeping = false
		s.kick()
	}
}

func (s *sender) kick() { wake(s.kickc) }

// wake makes the one who waits on c, of capacity 1, look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// sizeLocked is to be taken before an append, for appendedLocked.
func (s *sender) sizeLocked() int { return len(s.open.Shared) + len(s.open.Raw) }

// makeRoomLocked seals the open batch when n bytes more would not fit the
// peer's limit on a batch; false when they never would.
func (s *sender) makeRoomLocked(n int) bool {
	if n > s.peer.Batch {
		return false
	}
	if size := s.sizeLocked(); size > 0 && size+n > s.peer.Batch {
		s.sealLocked()
	}
	return true
}

func (s *sender) sealLocked() {
	s.queue = append(s.queue, s.open)
	if s.hop.BatchDelay > 0 {
		s.kick() // delay waits for more no longer
	}
	s.open = wire.Batch{}
	if n := len(s.spare); n > 0 {
		s.open = s.spare[n-1]
		s.spare = s.spare[:n-1]
		s.spareSize -= cap(s.open.Shared) + cap(s.open.Raw)
	}
}

// waitRoomLocked waits, on a goroutine that may, until less than
// responseQueue is queued or the stream is dead.
func (s *sender) waitRoomLocked() {
	for s.queued >= responseQueue && s.err == nil {
		s.room.Wait()
	}
}

// endLocked lets flushLoop send what is queued and then end this side.
func (s *sender) endLocked() {
	s.isEnded = true
	s.isSleeping = false
	s.kick()
}

// failLocked marks the stream dead; flushLoop ends.
func (s *sender) failLocked(err error) {
	if s.err == nil {
		s.err = err
	}
	s.room.Broadcast()
	s.kick()
}

// flushLoop sends batches until the stream dies or is ended.
func (s *sender) flushLoop() {
	defer close(s.donec)
	defer s.releaseCodec()
	var batches []wire.Batch
	for {
		if !s.sleep() {
			return
		}
		// Those about to append join this batch: without the yield 100 callers
		// cost several times as much.
		if s.hop.BatchDelay > 0 {
			s.delay()
		} else {
			runtime.Gosched()
		}
		s.mu.Lock()
		if s.sizeLocked() > 0 {
			s.sealLocked()
		}
		batches, s.queue = s.queue, batches[:0]
		s.queued = 0
		s.isFull.Store(false)
		s.sentID = s.lastID
		since, pings := s.since, s.pings.n
		s.room.Broadcast()
		s.mu.Unlock()
		s.sent.waited.time(time.Since(since))
		for i := range batches {
			if err := s.send(&batches[i]); err != nil {
				s.mu.Lock()
				s.failLocked(err)
				s.mu.Unlock()
				s.stream.Reset(codeInternal)
				return
			}
		}
		s.recycle(batches, pings)
	}
}

// sleep waits until something is queued; false when the loop should end.
func (s *sender) sleep() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && s.sizeLocked() == 0 {
		if s.err != nil {
			return false
		}
		if s.isEnded {
			s.stream.CloseWrite()
			return false
		}
		s.isSleeping = true
		s.mu.Unlock()
		s.wait()
		s.mu.Lock()
		s.isSleeping = false
	}
	return s.err == nil
}

// wait waits for a kick; on the way it releases a codec that is idle.
func (s *sender) wait() {
	if s.enc == nil {
		<-s.kickc
		return
	}
	timer := time.NewTimer(codecIdle - time.Since(s.coded))
	defer timer.Stop()
	select {
	case <-s.kickc:
	case <-timer.C:
		s.releaseCodec()
		<-s.kickc
	}
}

// delay waits for BatchDelay, or until a batch has been sealed.
func (s *sender) delay() {
	timer := time.NewTimer(s.hop.BatchDelay)
	defer timer.Stop()
	for {
		s.mu.Lock()
		isFull := len(s.queue) > 0 || s.isEnded || s.err != nil
		if !isFull {
			s.isSleeping = false // appends need not kick: the timer does
		}
		s.mu.Unlock()
		if isFull {
			return
		}
		select {
		case <-timer.C:
			return
		case <-s.kickc:
		}
	}
}

func (s *sender) releaseCodec() {
	if s.enc != nil {
		s.enc.Close()
		s.enc = nil
	}
}

// encoder returns the codec's context, making it when there is none; nil when
// there is no memory for one, and the batch goes as it is.
func (s *sender) encoder() *compress.Encoder {
	if s.enc != nil && time.Since(s.coded) >= codecIdle {
		s.enc.Reset()
		s.isAnew = true
	}
	if s.enc == nil {
		enc, err := s.hop.newEncoder(s.tuned.codec, s.tuned.level, s.window)
		if err != nil {
			return nil
		}
		s.enc, s.isAnew = enc, true
	}
	return s.enc
}

// send encodes one batch and writes it. Once the encoder has seen it, it is sent
// or the stream dies.
func (s *sender) send(b *wire.Batch) error {
	var enc *compress.Encoder
	if s.tune != nil {
		s.retune()
	}
	if s.tuned.codec != compress.None && len(b.Shared) >= minCoded {
		enc = s.encoder()
	}
	out, err := appendBatch(s.out[:0], b, enc, s.isAnew)
	if err != nil {
		return err
	}
	if enc != nil {
		s.isAnew = false
		s.coded = time.Now()
	}
	s.sent.batch(b.Records, len(b.Shared)+len(b.Raw), len(out))
	if s.tune != nil {
		defer func(began time.Time) {
			s.tune.sent(len(b.Shared), len(out)-len(b.Raw), time.Since(began), s.stream.Link)
		}(time.Now())
	}
	_, err = s.stream.Write(out)
	if s.out = out; cap(out) > keepBuffer {
		s.out = nil
	}
	return err
}

// retune follows what was chosen since the last batch.
func (s *sender) retune() {
	want := s.theirs.tuned(s.tune.tuner.now())
	if want == s.tuned {
		return
	}
	s.releaseCodec()
	s.mu.Lock()
	s.tuned = want
	s.mu.Unlock()
}

// appendBatch appends the bytes of a batch, its shared section through enc unless
// that is nil. After an error the encoder and its stream are of no use.
func appendBatch(dst []byte, b *wire.Batch, enc *compress.Encoder, isAnew bool) ([]byte, error) {
	h := wire.Header{Clear: b.Clear, Plain: len(b.Shared), Raw: len(b.Raw), Sum: wire.Checksum(b.Shared, b.Raw)}
	var pad [wire.HeaderSize]byte
	start := len(dst)
	dst = append(dst, pad[:]...)
	if enc != nil {
		var err error
		if dst, h.Packed, err = enc.EncodePacked(dst, b.Shared); err != nil {
			return dst, err
		}
		h.Codec, h.Anew = uint8(enc.ID()), isAnew
	} else {
		dst = append(dst, b.Shared...)
	}
	h.Coded = len(dst) - start - wire.HeaderSize
	dst = append(dst, b.Raw...)
	wire.AppendHeader(dst[:start], h)
	return dst, nil
}

// recycle gives the buffers of sent batches back, as many as are of use, and notes which pings
// were in them.
func (s *sender) recycle(batches []wire.Batch, pings int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pings.sent < pings {
		s.sentPingsLocked(pings)
	}
	for i := range batches {
		b := batches[i]
		batches[i] = wire.Batch{}
		size := cap(b.Shared) + cap(b.Raw)
		if s.spareSize+size <= keepBatches && size <= 2*keepBuffer {
			s.spareSize += size
			s.spare = append(s.spare, wire.Batch{Shared: b.Shared[:0], Raw: b.Raw[:0]})
		}
	}
}
