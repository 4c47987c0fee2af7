package bench

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/h2tp/h2tp/pool"
)

// A mover moves n bytes from one end of a way to the other, and returns when the
// other end has them.
type mover func(n int64) error

const (
	mib = 1 << 20
	// pieceSize is what the ends write and read at a time.
	pieceSize = 64 << 10
)

// noise is what is moved: nothing makes it smaller.
var noise = func() []byte {
	p := make([]byte, mib)
	rand.Read(p)
	return p
}()

// feed writes n bytes to w in pieces.
func feed(w io.Writer, n int64) error {
	for at := int64(0); n > 0; {
		k := min(n, pieceSize)
		if _, err := w.Write(noise[at : at+k]); err != nil {
			return err
		}
		n -= k
		at = (at + k) % (mib - pieceSize)
	}
	return nil
}

// drain reads n bytes from r.
func drain(r io.Reader, n int64, buf []byte) error {
	for n > 0 {
		k, err := r.Read(buf[:min(n, int64(len(buf)))])
		if n -= int64(k); err != nil && n > 0 {
			return err
		}
	}
	return nil
}

// move is a mover over two ends of a connection or stream.
func move(from io.Writer, to io.Reader) mover {
	buf := make([]byte, pieceSize)
	return func(n int64) error {
		errc := make(chan error, 1)
		go func() { errc <- feed(from, n) }()
		if err := drain(to, n, buf); err != nil {
			return err
		}
		return <-errc
	}
}

// dialVia is how the far end of a bench is reached: at once, or through a relay.
type dialVia func(tb testing.TB, addr string) net.Conn

func dialPlain(tb testing.TB, addr string) net.Conn {
	tb.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { nc.Close() })
	return nc
}

// moveTCP moves over a bare connection, in TLS when there is a configuration.
func moveTCP(tb testing.TB, dial dialVia, server, client *tls.Config) mover {
	ln := listen(tb)
	defer ln.Close()
	acceptc := make(chan net.Conn, 1)
	go func() {
		nc, err := ln.Accept()
		if err != nil {
			tb.Error(err)
		}
		acceptc <- nc
	}()
	cc := dial(tb, ln.Addr().String())
	sc := <-acceptc
	tb.Cleanup(func() { sc.Close() })
	if server != nil {
		cc, sc = tls.Client(cc, client), tls.Server(sc, server)
	}
	return move(cc, sc)
}

// movePool moves over one stream of a pool.
func movePool(tb testing.TB, dial dialVia, server, client *tls.Config) mover {
	ln := listen(tb)
	acceptc := make(chan *pool.Stream, 1)
	common := func(c *tls.Config) pool.Common { return pool.Common{Cleartext: c == nil, TLS: c} }
	srv, err := pool.NewServer(pool.ServerConfig{Common: common(server), Accept: func(s *pool.Stream) { s.Respond(200); acceptc <- s }})
	if err != nil {
		tb.Fatal(err)
	}
	served := make(chan struct{})
	go func() { srv.Serve(ln); close(served) }()
	cl, err := pool.NewClient(pool.ClientConfig{Common: common(client), Addr: ln.Addr().String(),
		Dial: func(_ context.Context, _, addr string) (net.Conn, error) { return dial(tb, addr), nil }})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { cl.Close(); srv.Close(); <-served })
	s, err := cl.Open(context.Background(), pool.Header{Path: "/"}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return move(s, <-acceptc)
}

// took is what a move cost.
type took struct{ rate, cpu float64 } // MB/s, CPU seconds per GiB

func timeMove(tb testing.TB, m mover, n int64) took {
	tb.Helper()
	cpu, wall := cpuTime(), time.Now()
	if err := m(n); err != nil {
		tb.Fatal(err)
	}
	return took{
		rate: float64(n) / 1e6 / time.Since(wall).Seconds(),
		cpu:  (cpuTime() - cpu).Seconds() * (1 << 30) / float64(n),
	}
}

// side is a way that is measured.
type side struct {
	name string
	m    mover
}

// printSides moves n bytes over each side in turns, the one that begins changing, and
// prints medians: of each side, and of each round's ratio to the first.
func printSides(t *testing.T, name string, n int64, target float64, sides ...side) {
	for _, s := range sides {
		timeMove(t, s.m, n/4) // windows and buffers as they are in the long run
	}
	got := make([][]took, len(sides))
	for r := range *rounds {
		for k := range sides {
			i := (k + r) % len(sides)
			got[i] = append(got[i], timeMove(t, sides[i].m, n))
		}
	}
	for i, s := range sides {
		var rate, cpu, rateRatio, cpuRatio []float64
		for r, g := range got[i] {
			rate, cpu = append(rate, g.rate), append(cpu, g.cpu)
			rateRatio, cpuRatio = append(rateRatio, g.rate/got[0][r].rate), append(cpuRatio, got[0][r].cpu/g.cpu)
		}
		fmt.Printf("%-22s %-12s %7.0f MB/s %6.2f CPU s/GiB", name, s.name, median(rate), median(cpu))
		if i > 0 {
			fmt.Printf("  rate x %.2f (%.2f-%.2f)  bytes per CPU x %.2f (%.2f-%.2f)", median(rateRatio), slices.Min(rateRatio), slices.Max(rateRatio),
				median(cpuRatio), slices.Min(cpuRatio), slices.Max(cpuRatio))
			if i == len(sides)-1 && target > 0 {
				fmt.Printf("  target x %.2f", target)
			}
		}
		fmt.Println()
	}
}

// TestBulkRatios prints what bulk costs beside bare connections. Nothing is
// asserted: a shared machine is no judge.
func TestBulkRatios(t *testing.T) {
	if !*ratios {
		t.Skip("measures only with -ratios")
	}
	server, client := tlsConfigs(t)
	t.Run("stream", func(t *testing.T) {
		printSides(t, "stream, clear", 256*mib, 0.7,
			side{"tcp", moveTCP(t, dialPlain, nil, nil)}, side{"pool", movePool(t, dialPlain, nil, nil)})
	})
	t.Run("stream-tls", func(t *testing.T) {
		printSides(t, "stream, TLS", 256*mib, 0.9,
			side{"tls", moveTCP(t, dialPlain, server, client)}, side{"pool", movePool(t, dialPlain, server, client)})
	})
	for _, isUpload := range []bool{false, true} {
		name := "download, clear"
		if isUpload {
			name = "upload, clear"
		}
		t.Run(name, func(t *testing.T) {
			printSides(t, name, 128*mib, 0, side{"2 relays", moveRelays(t, isUpload, false)}, side{"2 spliced", moveRelays(t, isUpload, true)},
				side{"pair", movePair(t, isUpload, nil, nil)})
		})
		t.Run(name+"-tls", func(t *testing.T) {
			printSides(t, name[:len(name)-5]+"TLS hop", 128*mib, 0, side{"2 relays", moveRelays(t, isUpload, false)},
				side{"pair", movePair(t, isUpload, server, client)})
		})
	}
	t.Run("long", func(t *testing.T) {
		printSides(t, "50 ms, 1 Gbit/s", 64*mib, 0.95,
			side{"tcp", moveTCP(t, dialLong, nil, nil)}, side{"pool", movePool(t, dialLong, nil, nil)})
	})
}

// BenchmarkBulk is each way by itself.
func BenchmarkBulk(b *testing.B) {
	server, client := tlsConfigs(b)
	for _, s := range []struct {
		name string
		make func(testing.TB) mover
	}{
		{"via=tcp", func(tb testing.TB) mover { return moveTCP(tb, dialPlain, nil, nil) }},
		{"via=pool", func(tb testing.TB) mover { return movePool(tb, dialPlain, nil, nil) }},
		{"via=tcp/tls", func(tb testing.TB) mover { return moveTCP(tb, dialPlain, server, client) }},
		{"via=pool/tls", func(tb testing.TB) mover { return movePool(tb, dialPlain, server, client) }},
		{"via=pair/download", func(tb testing.TB) mover { return movePair(tb, false, nil, nil) }},
		{"via=pair/upload", func(tb testing.TB) mover { return movePair(tb, true, nil, nil) }},
		{"via=pair/download/tls", func(tb testing.TB) mover { return movePair(tb, false, server, client) }},
	} {
		b.Run(s.name, func(b *testing.B) {
			m := s.make(b)
			const n = 16 * mib
			b.SetBytes(n)
			b.ReportAllocs()
			cpu, all := cpuTime(), int64(0)
			for b.Loop() {
				if err := m(n); err != nil {
					b.Fatal(err)
				}
				all += n
			}
			b.ReportMetric((cpuTime()-cpu).Seconds()*(1<<30)/float64(all), "cpu-s/GiB")
		})
	}
}
