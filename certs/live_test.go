package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// logBuffer takes a log that is read while it is written.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take returns what was written since the last call.
func (l *logBuffer) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.b.Reset()
	return l.b.String()
}

// replace writes a pair over another, as a renewal does.
func replace(t *testing.T, cert tls.Certificate, certFile, keyFile string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		certFile: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}),
		keyFile:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		stamp := time.Now().Add(time.Hour) // whatever the file system's clock resolves
		if err := os.Chtimes(name, stamp, stamp); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAServerFollowsItsFiles(t *testing.T) {
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "back.example"))
	var log logBuffer
	live, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	config := live.Config()
	serial := func() string {
		t.Helper()
		client, err := Client(ClientConfig{RootCAs: ca.Pool(), ServerName: "back.example"})
		if err != nil {
			t.Fatal(err)
		}
		state, err := handshake(t, config, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber.String()
	}
	first := serial()
	live.look(time.Now())
	if got := serial(); got != first {
		t.Error("another certificate though no file changed")
	}

	replace(t, issue(t, ca, "back.example"), certFile, keyFile)
	live.look(time.Now())
	second := serial()
	if second == first {
		t.Error("the old certificate though its files changed")
	}

	if err := os.WriteFile(keyFile, []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	log.take()
	live.look(time.Now())
	live.look(time.Now())
	if got := serial(); got != second {
		t.Error("not the old certificate though the new key is broken")
	}
	if got := log.take(); strings.Count(got, "not reloaded") != 1 || !strings.Contains(got, keyFile) {
		t.Errorf("got log %q; want one line that names the file", got)
	}
	if err := live.Reload(); err == nil {
		t.Error("Reload: got no error")
	}
}

// By rename, and behind a link, as Kubernetes and certbot do; whatever the times and sizes are.
func TestAnotherFileOfTheSameSizeAndTimeIsNoticed(t *testing.T) {
	ca := newCA(t)
	dir := t.TempDir()
	link, next := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "next")
	first, second := write(t, "a.pem", ca.PEM()), write(t, "b.pem", ca.PEM())
	at := time.Now()
	for _, name := range []string{first, second} {
		if err := os.Chtimes(name, at, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(first, link); err != nil {
		t.Fatal(err)
	}
	files := []string{first, link}
	was := stampsOf(files)
	if !slices.EqualFunc(stampsOf(files), was, isSame) {
		t.Error("files that nobody touched are others")
	}
	if err := os.Symlink(second, next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, link); err != nil {
		t.Fatal(err)
	}
	if now := stampsOf(files); !isSame(now[0], was[0]) || isSame(now[1], was[1]) {
		t.Error("what the link leads to is the same")
	}
	if err := os.Rename(second, first); err != nil {
		t.Fatal(err)
	}
	if now := stampsOf(files); isSame(now[0], was[0]) || now[1] != nil {
		t.Error("a file in the place of another is the same, or one that is gone is there")
	}
}

// What listeners of several protocols show is read once, and follows the files for all.
func TestConfigurationsOfSeveralProtocolsHaveTheSameFiles(t *testing.T) {
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "back.example"))
	live, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}, TicketKeyFile: write(t, "tickets", bytes.Repeat([]byte("x"), 32))}, nil)
	if err != nil {
		t.Fatal(err)
	}
	hop, web := live.Config(), live.ConfigFor("h2", "http/1.1")
	if live.Config() != hop || live.ConfigFor("h2", "http/1.1") != web || hop == web {
		t.Error("want one configuration for each choice of protocols")
	}
	serials := func() (list []string) {
		t.Helper()
		old := &tls.Config{RootCAs: ca.Pool(), ServerName: "back.example", NextProtos: []string{"http/1.1"}, MaxVersion: tls.VersionTLS12}
		if _, err := handshake(t, hop, old); err == nil {
			t.Error("the hop takes TLS 1.2")
		}
		for _, server := range []*tls.Config{hop, web} {
			client := &tls.Config{RootCAs: ca.Pool(), ServerName: "back.example", NextProtos: []string{"h2"}}
			if server == web {
				client = old
			}
			state, err := handshake(t, server, client)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, state.PeerCertificates[0].SerialNumber.String())
		}
		return list
	}
	first := serials()
	replace(t, issue(t, ca, "back.example"), certFile, keyFile)
	live.look(time.Now())
	if second := serials(); first[0] != first[1] || second[0] != second[1] || first[0] == second[0] {
		t.Errorf("got %q, then %q; want another for both", first, second)
	}
}

func TestAClientFollowsItsFiles(t *testing.T) {
	ca, next := newCA(t), newCA(t)
	caFile := write(t, "ca.pem", ca.PEM())
	live, err := NewClient(ClientConfig{CAFile: caFile, ServerName: "back.example"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	cert := issue(t, next, "back.example")
	server, err := Server(ServerConfig{Certificate: &cert})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, live.Config()); err == nil {
		t.Fatal("the new authority is taken before it is in the file")
	}
	if err := os.WriteFile(caFile, next.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := live.Reload(); err != nil {
		t.Fatal(err)
	}
	if _, err := handshake(t, server, live.Config()); err != nil {
		t.Fatal(err)
	}
}

func TestFollowLooksEveryTenSecondsAndWarnsOnceADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := newCA(t)
		end := time.Now().Add(3*24*time.Hour - devBack)
		certFile, keyFile := writePair(t, issueUntil(t, ca, end, "back.example"))
		var log logBuffer
		live, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}}, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		go live.Follow(t.Context())
		time.Sleep(lookPeriod - 1)
		replace(t, issueUntil(t, ca, end, "other.example"), certFile, keyFile)
		synctest.Wait()
		if got := log.take(); got != "" {
			t.Fatalf("got %q before the first look", got)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if got := log.take(); !strings.Contains(got, "other.example") {
			t.Fatalf("got log %q; want the new certificate's name", got)
		}

		time.Sleep(2*24*time.Hour - devBack - time.Minute)
		synctest.Wait()
		if got := log.take(); got != "" {
			t.Fatalf("warned when a third of its life was left: %q", got)
		}
		time.Sleep(23 * time.Hour)
		synctest.Wait()
		if n := strings.Count(log.take(), "expires soon"); n != 1 {
			t.Errorf("got %d warnings in the first day; want 1", n)
		}
	})
}

// What was shown and has expired since is warned of; a new one that has expired is refused.
func TestAnExpiredCertificateKeepsNoOtherFromBeingRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long, short := newCA(t), newCA(t)
		short.cert.NotAfter = time.Now().Add(time.Hour)
		oldCert, oldKey := writePair(t, issue(t, short, "old.example"))
		certFile, keyFile := writePair(t, issue(t, long, "back.example"))
		var log logBuffer
		cfg := ServerConfig{Pairs: []Pair{{oldCert, oldKey}, {certFile, keyFile}}, ClientCAFile: write(t, "ca.pem", long.PEM())}
		live, err := NewServer(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		was := live.Certificates()
		time.Sleep(2 * time.Hour)
		replace(t, issue(t, long, "back.example"), certFile, keyFile)
		live.look(time.Now())
		if is := live.Certificates(); !is[0].Equal(was[0]) || is[1].Equal(was[1]) {
			t.Error("want the expired certificate as it was, and the other renewed")
		}
		if got := log.take(); strings.Count(got, `level=ERROR msg="certificate has expired" names=[old.example]`) != 1 || strings.Count(got, "\n") != 2 {
			t.Errorf("got log %q; want one line of what expired and one of what is new", got)
		}
		if _, err := NewServer(cfg, nil); err == nil {
			t.Error("an expired certificate is taken at the start")
		}
		replace(t, issue(t, short, "old.example"), oldCert, oldKey)
		if err := live.Reload(); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("got %v of an expired certificate that is new; want it refused", err)
		}
	})
}

func TestACertificateIsChosenByName(t *testing.T) {
	ca := newCA(t)
	var cfg ServerConfig
	for _, name := range []string{"a.example", "*.b.example"} {
		certFile, keyFile := writePair(t, issue(t, ca, name))
		cfg.Pairs = append(cfg.Pairs, Pair{certFile, keyFile})
	}
	cfg.Protocols = []string{"h2", "http/1.1"}
	live, err := NewServer(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	for sni, want := range map[string]string{"a.example": "a.example", "x.b.example": "*.b.example", "c.example": "a.example", "": "a.example"} {
		client := &tls.Config{ServerName: sni, InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
		state, err := handshake(t, live.Config(), client)
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].DNSNames[0]; got != want {
			t.Errorf("SNI %q: got %s; want %s", sni, got, want)
		}
	}
}

func TestOnlyListedClientsEnter(t *testing.T) {
	ca := newCA(t)
	cert := issue(t, ca, "back.example")
	for _, c := range []struct {
		names []string // of the client
		list  []string
		want  string
	}{
		{[]string{"front.example"}, []string{"front.example"}, ""},
		{[]string{"x.example", "front.example"}, []string{"front.example", "y.example"}, ""},
		{[]string{"10.1.2.3"}, []string{"10.1.2.3"}, ""},
		{[]string{"other.example"}, []string{"front.example"}, "not on the list"},
		{[]string{"*.example"}, []string{"front.example"}, "not on the list"},
		{[]string{"*.Example"}, []string{"*.example"}, ""},
		{[]string{"client.one"}, []string{"Client.One"}, ""},
		{[]string{"CLIENT.one"}, []string{"client.ONE"}, ""},
		{[]string{"fd00::1"}, []string{"FD00:0::1"}, ""},
		{[]string{"10.1.2.3"}, []string{"::ffff:10.1.2.3"}, ""},
		{[]string{"10.1.2.4"}, []string{"10.1.2.3"}, "not on the list"},
	} {
		server, err := Server(ServerConfig{Certificate: &cert, ClientCAFile: write(t, "ca.pem", ca.PEM()), ClientNames: c.list})
		if err != nil {
			t.Fatal(err)
		}
		certFile, keyFile := writePair(t, issue(t, ca, c.names...))
		client, err := Client(ClientConfig{RootCAs: ca.Pool(), ServerName: "back.example", CertFile: certFile, KeyFile: keyFile})
		if err != nil {
			t.Fatal(err)
		}
		_, err = handshake(t, server, client)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%q against %q: got %v; want %q", c.names, c.list, err, c.want)
		}
	}
}

func TestNamesOnAListAreOfDNSAddressesAndURIs(t *testing.T) {
	for name, want := range map[string]string{
		"a": "dns", "A.b_c.example": "dns", "*.a.example": "dns", "10.0.0.1": "addr", "FD00::1": "addr", "spiffe://a/b": "uri", "urn:a:b": "uri",
		"": "", " ": "", "a b": "", "a..b": "", ".a": "", "a.": "", "*": "", "*.*.a": "", "a/b": "", "a:80": "", "[::1]": "", "::1%eth0": "", "10.0.0": "",
		"10.0.0.256": "", "-a": "", "ü.example": "", strings.Repeat("a", 64): "", strings.Repeat("a.", 127): "", "http://": "", "--help": "",
	} {
		l, err := readNames([]string{name})
		got := ""
		if err == nil {
			got = map[[3]int]string{{1, 0, 0}: "dns", {0, 1, 0}: "addr", {0, 0, 1}: "uri"}[[3]int{len(l.dns), len(l.addrs), len(l.uris)}]
		}
		if got != want {
			t.Errorf("%q: got %q, %v; want %q", name, got, err, want)
		}
	}
}

func TestSessionsResumeAcrossProcessesWithOneTicketFile(t *testing.T) {
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "back.example"))
	secret := write(t, "tickets", bytes.Repeat([]byte("0123456789abcdef"), 2))
	server := func(ticketFile string) *tls.Config {
		live, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}, TicketKeyFile: ticketFile, Protocols: []string{"http/1.1"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return live.Config().Clone() // as package pool does
	}
	for _, c := range []struct {
		name string
		next *tls.Config
		want bool
	}{
		{"the same file", server(secret), true},
		{"another secret", server(write(t, "tickets", bytes.Repeat([]byte("x"), 32))), false},
		{"no file", server(""), false},
	} {
		client := &tls.Config{RootCAs: ca.Pool(), ServerName: "back.example", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		if _, err := handshake(t, server(secret), client); err != nil {
			t.Fatal(err)
		}
		state, err := handshake(t, c.next, client)
		if err != nil {
			t.Fatal(err)
		}
		if state.DidResume != c.want {
			t.Errorf("%s: resumed %v; want %v", c.name, state.DidResume, c.want)
		}
	}
	short := write(t, "tickets", []byte("short"))
	if _, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}, TicketKeyFile: short}, nil); err == nil || !strings.Contains(err.Error(), short) {
		t.Errorf("short secret: got %v; want an error that names the file", err)
	}
}

func TestNewTicketKeysReachWhoUsesTheConfiguration(t *testing.T) {
	ca := newCA(t)
	certFile, keyFile := writePair(t, issue(t, ca, "back.example"))
	secret := write(t, "tickets", bytes.Repeat([]byte("x"), 32))
	live, err := NewServer(ServerConfig{Pairs: []Pair{{certFile, keyFile}}, TicketKeyFile: secret}, nil)
	if err != nil {
		t.Fatal(err)
	}
	config := live.Config().Clone() // as package pool does
	client := &tls.Config{RootCAs: ca.Pool(), ServerName: "back.example", NextProtos: []string{"h2"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, want := range []bool{false, true, false} {
		if i == 2 {
			live.look(time.Now().Add(2 * ticketPeriod)) // the old keys decrypt no more
		}
		state, err := handshake(t, config, client)
		if err != nil || state.DidResume != want {
			t.Errorf("handshake %d: resumed %v, %v; want %v", i+1, state.DidResume, err, want)
		}
	}
}

func TestTicketKeysRotateAndTheLastStillDecrypts(t *testing.T) {
	k := &tickets{secret: bytes.Repeat([]byte("s"), 32)}
	start := time.Unix(0, 0).Add(1000 * ticketPeriod)
	keys := k.keys(start)
	if k.isStale(start.Add(ticketPeriod - time.Second)) {
		t.Error("stale before the period is over")
	}
	if !k.isStale(start.Add(ticketPeriod)) {
		t.Error("not stale when the period is over")
	}
	next := k.keys(start.Add(ticketPeriod))
	if next[0] == keys[0] || next[1] != keys[0] || keys[2] != next[0] {
		t.Error("want the next key to encrypt, the last one to decrypt, and the next known ahead")
	}
}
