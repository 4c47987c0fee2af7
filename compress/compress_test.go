package compress

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// raceEnabled is set in race builds, where allocations are counted otherwise.
var raceEnabled bool

var (
	codecs    = []ID{None, Snappy, Flate, Zstd}
	contexts  = []ID{Snappy, Flate, Zstd}
	allLevels = []Level{Fastest, Default, Better, Best}
)

func TestNamesAreThoseOfTheProtocol(t *testing.T) {
	for id, name := range map[ID]string{0: "none", 1: "snappy", 2: "flate", 3: "zstd"} {
		if got := id.String(); got != name {
			t.Errorf("ID(%d): got %q; want %q", uint8(id), got, name)
		}
		if got, err := Parse(name); got != id || err != nil {
			t.Errorf("Parse(%q): got %v, %v; want %v", name, got, err, id)
		}
	}
	for _, name := range []string{"", "ZSTD", "gzip", "codec 4"} {
		if got, err := Parse(name); err == nil {
			t.Errorf("Parse(%q): got %v; want an error", name, got)
		}
	}
	if got := ID(7).String(); got != "codec 7" {
		t.Errorf("got %q; want %q", got, "codec 7")
	}
}

func TestLevelsHaveNames(t *testing.T) {
	for level, name := range map[Level]string{Fastest: "fastest", Default: "default", Better: "better", Best: "best"} {
		if got := level.String(); got != name {
			t.Errorf("got %q; want %q", got, name)
		}
		if got, err := ParseLevel(name); got != level || err != nil {
			t.Errorf("ParseLevel(%q): got %v, %v; want %v", name, got, err, level)
		}
	}
	if got, err := ParseLevel("fast"); err == nil {
		t.Errorf("got %v; want an error", got)
	}
	if got := Level(7).String(); got != "level 7" {
		t.Errorf("got %q; want level 7", got)
	}
}

func TestBlocksComeBack(t *testing.T) {
	sizes := []int{1, 2, 3, 31, 32, 33, 127, 128, 1000, 4095, 32767, 32768, 32769, 65535, 65536, 65537, 131073, 300000}
	if raceEnabled {
		sizes = sizes[:len(sizes)-3]
	}
	r := newRand(1)
	var blocks [][]byte
	for _, size := range sizes {
		for _, fill := range fills {
			blocks = append(blocks, fill.make(r, size))
		}
	}
	for _, id := range codecs {
		for _, level := range allLevels {
			if id <= Snappy && level != Fastest {
				continue
			}
			t.Run(fmt.Sprintf("codec=%v/level=%v", id, level), func(t *testing.T) {
				p := newPair(t, id, level, 0)
				for _, b := range blocks {
					p.pass(b)
				}
			})
		}
	}
}

func TestBlocksComeBackAtEveryWindow(t *testing.T) {
	for _, window := range []int{minWindow, 3000, 64 << 10, 1 << 20, maxWindow} {
		p := newPair(t, Zstd, Fastest, window)
		r := newRand(2)
		for _, size := range []int{1, 1000, 1 << 20} {
			p.pass(fillJSON(r, size))
			p.pass(fillRandom(r, size))
		}
	}
}

// TestContextLasts sends so many blocks through one context that whatever the libraries do at the end
// of a window, a table or a buffer is done many times. COMPRESS_BLOCKS sends more.
func TestContextLasts(t *testing.T) {
	n := 20_000
	if raceEnabled || testing.Short() {
		n = 5000
	}
	if s := os.Getenv("COMPRESS_BLOCKS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range contexts {
		t.Run(id.String(), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, id, Fastest, 0)
			r := newRand(3)
			largest := 4 << 20
			if n < 20_000 {
				largest = 100_000
			}
			pool := make([][]byte, len(fills))
			for i, fill := range fills {
				pool[i] = fill.make(r, largest)
			}
			for i := range n {
				size := 1 + r.IntN(1500)
				switch {
				case i%20_000 == 19_999:
					size = largest
				case i%500 == 0:
					size = 1 + r.IntN(100_000)
				case i%64 == 0:
					size = 32 << 10 // ends where flate's window is full, again and again
				}
				b := pool[r.IntN(len(pool))]
				at := r.IntN(len(b) - size + 1)
				p.pass(b[at : at+size])
			}
		})
	}
}

// pair is both ends of one context.
type pair struct {
	t *testing.T
	e *Encoder
	d *Decoder
	m *Memory

	coded, plain []byte
}

func newPair(t *testing.T, id ID, level Level, window int) *pair {
	t.Helper()
	p := &pair{t: t, m: NewMemory(-1)}
	var err error
	if p.e, err = p.m.NewEncoder(id, EncoderOptions{Level: level, Window: window}); err != nil {
		t.Fatal(err)
	}
	if p.d, err = p.m.NewDecoder(id, DecoderOptions{Window: window}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.e.Close(); p.d.Close() })
	return p
}

// encode returns a block that the caller may keep.
func (p *pair) encode(src []byte) []byte {
	p.t.Helper()
	b, err := p.e.Encode(nil, src)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

func (p *pair) pass(src []byte) {
	p.t.Helper()
	var err error
	if p.coded, err = p.e.Encode(p.coded[:0], src); err != nil {
		p.t.Fatal(err)
	}
	if len(p.coded) > MaxEncodedLen(len(src)) {
		p.t.Fatalf("%d bytes became %d; want at most %d", len(src), len(p.coded), MaxEncodedLen(len(src)))
	}
	if p.plain, err = p.d.Decode(append(p.plain[:0], "before"...), p.coded, len(src)); err != nil {
		p.t.Fatalf("block of %d bytes: %v", len(src), err)
	}
	if !bytes.Equal(p.plain[6:], src) || string(p.plain[:6]) != "before" {
		p.t.Fatalf("block of %d bytes came back different", len(src))
	}
}

// passPacked is pass by way of the packed form, and reports whether it was used.
func (p *pair) passPacked(src []byte) (isPacked bool) {
	p.t.Helper()
	var err error
	if p.coded, isPacked, err = p.e.EncodePacked(p.coded[:0], src); err != nil {
		p.t.Fatal(err)
	}
	if len(p.coded) > MaxEncodedLen(len(src)) {
		p.t.Fatalf("%d bytes became %d; want at most %d", len(src), len(p.coded), MaxEncodedLen(len(src)))
	}
	decode := p.d.Decode
	if isPacked {
		decode = p.d.DecodePacked
	}
	if p.plain, err = decode(append(p.plain[:0], "before"...), p.coded, len(src)); err != nil {
		p.t.Fatalf("block of %d bytes: %v", len(src), err)
	}
	if !bytes.Equal(p.plain[6:], src) || string(p.plain[:6]) != "before" {
		p.t.Fatalf("block of %d bytes came back different", len(src))
	}
	return isPacked
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

var fills = []struct {
	name string
	make func(*rand.Rand, int) []byte
}{{"json", fillJSON}, {"random", fillRandom}, {"zero", fillZero}, {"few", fillFew}, {"words", fillWords}}

func fillJSON(r *rand.Rand, n int) []byte {
	var b []byte
	for len(b) < n {
		b = appendBidRequest(b, r)
	}
	return b[:n]
}

// fillValues is so many uuids, one after the other.
func fillValues(r *rand.Rand, n int) []byte {
	var b []byte
	for range n {
		b = fmt.Appendf(b, "%08x-%04x-4%03x-9%03x-%012x,", r.Uint32(), r.IntN(1<<16), r.IntN(1<<12), r.IntN(1<<12), r.Uint64()>>16)
	}
	return b
}

func fillRandom(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func fillZero(_ *rand.Rand, n int) []byte { return make([]byte, n) }

// fillFew has so few symbols that there are matches everywhere, most of them short.
func fillFew(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.IntN(8))
	}
	return b
}

// fillWords has about as many matches as n bytes can have: words of 5 bytes, each followed by a random one.
func fillWords(r *rand.Rand, n int) []byte {
	words := fillRandom(r, 5*64)
	var b []byte
	for len(b) < n {
		k := 5 * r.IntN(64)
		b = append(append(b, words[k:k+5]...), byte(r.Uint32()))
	}
	return b[:n]
}

// appendBidRequest appends an OpenRTB-like bid request of about 2.3 KB, unlike any other.
func appendBidRequest(b []byte, r *rand.Rand) []byte {
	pick := func(s ...string) string { return s[r.IntN(len(s))] }
	b = fmt.Appendf(b, `{"id":"%016x%016x","at":1,"tmax":%d,"cur":["USD"],"imp":[`, r.Uint64(), r.Uint64(), 80+10*r.IntN(20))
	for i := range 1 + r.IntN(3) {
		if i > 0 {
			b = append(b, ',')
		}
		w, h := 300, 250
		if r.IntN(2) == 0 {
			w, h = 728, 90
		}
		b = fmt.Appendf(b, `{"id":"%d","tagid":"%d","banner":{"w":%d,"h":%d,"format":[{"w":%d,"h":%d},{"w":320,"h":50}],"pos":%d,"btype":[1,4],"battr":[1,3,5,8,9],"api":[3,5,6]},`+
			`"bidfloor":%.4f,"bidfloorcur":"USD","secure":1,"instl":%d,"pmp":{"private_auction":0,"deals":[{"id":"deal-%08x","bidfloor":%.2f,"at":1,"wseat":["%d"]}]},`+
			`"ext":{"gpid":"/%d/%s/top#%d","skadn":{"version":"2.0","sourceapp":"%d","skadnetids":["cdkw7geqsh.skadnetwork","qyjfv329m4.skadnetwork"]}}}`,
			i+1, r.IntN(1e6), w, h, w, h, r.IntN(8), r.Float64()*3, r.IntN(2), r.Uint32(), r.Float64()*9, r.IntN(5000), r.IntN(1e8), pick("news", "sport", "games", "weather"), i, r.IntN(1e9))
	}
	b = fmt.Appendf(b, `],"app":{"id":"%d","name":"%s","bundle":"com.%s.app%d","domain":"%s.example","storeurl":"https://play.google.com/store/apps/details?id=com.example.app%d","cat":["IAB%d","IAB%d-%d"],"ver":"%d.%d.%d","privacypolicy":1,"publisher":{"id":"%d","name":"Publisher %d"}},`,
		r.IntN(1e6), pick("Weather Now", "Chess Online", "Daily News", "Word Puzzle"), pick("acme", "globex", "initech", "umbrella"), r.IntN(500), pick("acme", "globex", "initech"), r.IntN(500), 1+r.IntN(26), 1+r.IntN(26), 1+r.IntN(20), r.IntN(12), r.IntN(30), r.IntN(10), r.IntN(1e5), r.IntN(900))
	b = fmt.Appendf(b, `"device":{"ua":"Mozilla/5.0 (Linux; Android %d; %s) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/%d.0.%d.%d Mobile Safari/537.36","ip":"%d.%d.%d.%d","geo":{"lat":%.5f,"lon":%.5f,"country":"%s","region":"%s","city":"%s","zip":"%05d","type":2,"utcoffset":%d},`+
		`"make":"%s","model":"%s","os":"android","osv":"%d","devicetype":4,"js":1,"connectiontype":%d,"language":"%s","carrier":"%s","ifa":"%08x-%04x-4%03x-%04x-%012x","dnt":0,"lmt":%d,"w":1080,"h":2340,"pxratio":2.75},`,
		9+r.IntN(6), pick("SM-G991B", "Pixel 7", "M2101K6G", "CPH2269"), 90+r.IntN(40), r.IntN(6000), r.IntN(200), 1+r.IntN(220), r.IntN(256), r.IntN(256), r.IntN(256), r.Float64()*180-90, r.Float64()*360-180, pick("USA", "DEU", "FRA", "BRA", "IND"), pick("CA", "NY", "BE", "SP"), pick("Berlin", "Paris", "New York", "Mumbai"), r.IntN(99999), 60*r.IntN(12),
		pick("samsung", "google", "xiaomi", "oppo"), pick("SM-G991B", "Pixel 7", "M2101K6G"), 9+r.IntN(6), r.IntN(7), pick("en", "de", "fr", "pt", "hi"), pick("Verizon", "Telekom", "Orange", "Vivo"), r.Uint32(), r.IntN(65536), r.IntN(4096), r.IntN(65536), r.Uint64()>>16, r.IntN(2))
	return fmt.Appendf(b, `"user":{"id":"%016x","buyeruid":"%016x%016x","yob":%d,"gender":"%s","ext":{"consent":"CP%016xAAA%016x"}},"regs":{"coppa":0,"ext":{"gdpr":%d,"us_privacy":"1YNN"}},"bcat":["IAB25","IAB26","IAB7-39"],"badv":["a%d.example","b%d.example"],"source":{"fd":1,"tid":"%016x","ext":{"schain":{"ver":"1.0","complete":1,"nodes":[{"asi":"exchange.example","sid":"%d","hp":1}]}}}}`,
		r.Uint64(), r.Uint64(), r.Uint64(), 1950+r.IntN(60), pick("M", "F", "O"), r.Uint64(), r.Uint64(), r.IntN(2), r.IntN(1000), r.IntN(1000), r.Uint64(), r.IntN(1e5))
}

// messages returns blocks of about size bytes, each of whole messages, no two alike.
func messages(n, size int) [][]byte {
	r := newRand(4)
	blocks := make([][]byte, n)
	for i := range blocks {
		var b []byte
		for len(b) < size-1000 {
			b = appendBidRequest(b, r)
		}
		blocks[i] = slices.Clip(b)
	}
	return blocks
}

func sum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }
