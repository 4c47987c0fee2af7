package proxy

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// toFileOf is a file of destinations that a test writes.
type toFileOf struct {
	t    *testing.T
	path string
	at   time.Time
}

func newToFile(t *testing.T, lines ...string) *toFileOf {
	f := &toFileOf{t: t, path: filepath.Join(t.TempDir(), "to"), at: time.Now()}
	f.write(lines...)
	return f
}

// write replaces the file, at another time than before: those of some file systems are 4 ms apart.
func (f *toFileOf) write(lines ...string) {
	f.t.Helper()
	next := f.path + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		f.t.Fatal(err)
	}
	f.at = f.at.Add(time.Second)
	if err := os.Chtimes(next, f.at, f.at); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(next, f.path); err != nil {
		f.t.Fatal(err)
	}
}

func (f *toFileOf) to() string { return "file://" + f.path }

func urlsOf(st Stats) (list []string) {
	for _, d := range st.Destinations {
		list = append(list, d.URL)
	}
	return list
}

func TestAFileOfDestinationsIsFollowedUnderLoad(t *testing.T) {
	for _, kind := range []string{"upstreams", "backs"} {
		t.Run(kind, func(t *testing.T) {
			before := ownGoroutines()
			var all []string
			for range 4 {
				up := "http://" + startUpstream(t, echoHandler)
				if kind == "backs" {
					ln := listenTCP(t)
					startBack(t, ln, Config{To: []string{up}})
					up = "h2tpc://" + ln.Addr().String()
				}
				all = append(all, up)
			}
			file := newToFile(t, all[0])
			f, addr := startFront(t, Config{To: []string{file.to()}})
			stop := askAllTheTime(t, addr)
			for i := range 6 {
				want := []string{all[(i+1)%4], all[(i+2)%4]}
				file.write(want[0]+";weight=2", want[1])
				f.route.lookAtFiles() // there may be a turn of fileLoop between any two
				f.route.lookAtFiles()
				if i == 5 {
					awaitTrue(t, func() bool { return slices.Equal(urlsOf(f.Stats()), want) }, "another file")
				} else if got := urlsOf(f.Stats()); !slices.Equal(got, want) {
					t.Errorf("got %q; want %q", got, want)
				}
			}
			stop()
			f.Close()
			if after := ownGoroutines(); kind == "upstreams" && len(after) > len(before) {
				t.Errorf("%d goroutines are left:\n%s", len(after)-len(before), strings.Join(after, "\n\n"))
			}
		})
	}
}

// However often those left that it waited for, while it waited.
func TestARequestFindsTheBackThatStays(t *testing.T) {
	ln := listenTCP(t)
	startBack(t, ln, Config{To: []string{"http://" + startUpstream(t, echoHandler)}})
	silent := func() string { return "h2tpc://" + listenTCP(t).Addr().String() } // none accepts
	file := newToFile(t, silent())
	f, addr := startFront(t, Config{To: []string{file.to()}})
	c := dialClient(t, addr)
	c.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
	awaitTrue(t, func() bool { return f.Stats().Destinations[0].InFlight == 1 }, "the exchange")
	for range 2 * maxAttempts {
		file.write(silent())
		f.route.lookAtFiles()
		f.route.lookAtFiles()
	}
	file.write("h2tpc://" + ln.Addr().String())
	awaitTrue(t, func() bool { f.route.lookAtFiles(); return urlsOf(f.Stats())[0] == "h2tpc://"+ln.Addr().String() }, "the file")
	c.read("POST").want(t, 200, "a POST")
}

// Its loop does so of itself.
func TestAFileOfDestinationsIsLookedAt(t *testing.T) {
	file := newToFile(t, "http://a:1")
	f, _ := startFront(t, Config{To: []string{"http://b:1", file.to()}})
	if got, want := urlsOf(f.Stats()), []string{"http://b:1", "http://a:1"}; !slices.Equal(got, want) {
		t.Fatalf("got %q; want %q", got, want)
	}
	file.write("http://a:1", "http://c:1")
	awaitTrue(t, func() bool {
		return slices.Equal(urlsOf(f.Stats()), []string{"http://b:1", "http://a:1", "http://c:1"})
	}, "another file")
	if l := f.Stats().Lookups[0]; l.URL != file.to() || l.Addresses != 2 || l.Done != 2 || l.Why != "" {
		t.Errorf("it says %+v", l)
	}
}

func TestABrokenFileOfDestinationsIsRefused(t *testing.T) {
	good := "http://" + startUpstream(t, echoHandler)
	file := newToFile(t, good)
	var log logged
	f, addr := startFront(t, Config{To: []string{file.to()}, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	was := f.route.set.Load()
	look := func() {
		for range 3 {
			f.route.lookAtFiles()
		}
	}
	for i, broken := range []struct {
		lines []string
		want  string
	}{
		{[]string{"# ours", "", good, "ftp://a"}, ":4: "},
		{[]string{"http://a;weight=0"}, ":1: "},
		{[]string{good, "h2tp://a"}, ":2: "}, // without TLS
		{[]string{good, "  " + good + " # again"}, ":2: \"" + good + "\" is there twice"},
		{[]string{good, "# more", "http://a:99999"}, ":3: \"http://a:99999\" has no port from 1 to 65535"},
		{[]string{good, "http://:0"}, ":2: \"http://:0\" has no host"},
		{[]string{good, "http://a:0"}, ":2: \"http://a:0\" has port 0"},
		{[]string{"http://a", "", "http://A:80/;weight=2"}, ":3: \"http://A:80/\" is there already, as \"http://a\""},
		{[]string{"file:///etc/hosts"}, ":1: a file names no other"},
		{[]string{"# nothing"}, ": no destination"},
		{slices.Repeat([]string{"# " + strings.Repeat("x", 1000)}, 1100), "more than"},
	} {
		file.write(broken.lines...)
		look()
		st := f.Stats().Lookups[0]
		if want := file.path + broken.want; !strings.Contains(st.Why, broken.want) || !strings.Contains(st.Why, file.path) {
			t.Errorf("%.60q: %q; want %q", broken.lines, st.Why, want)
		}
		if n := log.count("the old ones stay"); n != i+1 {
			t.Errorf("%.60q: %d lines; want %d", broken.lines, n, i+1)
		}
	}
	os.Remove(file.path)
	look()
	if st := f.Stats().Lookups[0]; !strings.Contains(st.Why, "no such file") || st.Failed < 12 {
		t.Errorf("without a file: %+v", st)
	}
	if f.route.set.Load() != was {
		t.Error("the set is another")
	}
	dialClient(t, addr).get("/").want(t, 200, "with what was there before")
	file.write(good, "http://a:1;tier=1")
	look()
	if st := f.Stats(); st.Lookups[0].Why != "" || len(st.Destinations) != 2 {
		t.Errorf("mended: %+v", st.Lookups[0])
	}
}

// Another file in its place, of the same size and time, is another.
func TestAFileOfDestinationsThatIsSwappedIsRead(t *testing.T) {
	file := newToFile(t, "http://a:1")
	f, _ := startFront(t, Config{To: []string{file.to()}})
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("http://b:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(file.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(other, fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, file.path); err != nil {
		t.Fatal(err)
	}
	awaitTrue(t, func() bool { f.route.lookAtFiles(); return slices.Equal(urlsOf(f.Stats()), []string{"http://b:1"}) }, "the other file")
}

// One that is refused for what is not in it, a name that there is not, is tried again.
func TestARefusedFileOfDestinationsIsTriedAgain(t *testing.T) {
	dns := startNameServer(t)
	file := newToFile(t, "http://a:1")
	f, _ := startFront(t, Config{To: []string{file.to()}, Resolver: dns.resolver()})
	file.write("http://api.test;resolve=1h")
	awaitTrue(t, func() bool { f.route.lookAtFiles(); return f.Stats().Lookups[0].Failed > 0 }, "a refusal")
	dns.set("api.test", "127.0.0.1")
	for range fileAgain {
		f.route.lookAtFiles()
	}
	if got, want := urlsOf(f.Stats()), []string{"http://api.test;addr=127.0.0.1:80"}; !slices.Equal(got, want) {
		t.Errorf("got %q; want %q", got, want)
	}
}

func TestFilesOfDestinationsAreLines(t *testing.T) {
	file := newToFile(t, "# ours", "", "  http://a:1;weight=2  # the big one", "#http://b:1", "h2tp://c/p#x", "http://d;resolve=1s\r", "unix:///e # f # g")
	if _, err := ReadTo(file.to()); err == nil || !strings.Contains(err.Error(), file.path+":5: ") {
		t.Errorf("a # without a space before it: %v", err)
	}
	file.write("# ours", "", "  http://a:1;weight=2  # the big one", "#http://b:1", "http://d;resolve=1s\r", "unix:///e # f # g")
	got, err := ReadTo(file.to())
	if want := []string{"http://a:1;weight=2", "http://d;resolve=1s", "unix:///e"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	for _, to := range []string{"file://a/b", "file:///a;weight=1", "file:///a?b", fmt.Sprint("file://", t.TempDir())} {
		if _, err := ReadTo(to); err == nil || CheckTo(to) == nil {
			t.Errorf("%q is taken", to)
		}
		if f, err := NewFront(Config{To: []string{to}}); err == nil {
			f.Close()
			t.Errorf("a front takes %q", to)
		}
	}
}

// One that is being written is left alone until it is as it was a look before.
func TestAFileOfDestinationsIsReadOnceItIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := newToFile(t, "http://a:1")
		cfg, err := Config{To: []string{file.to()}}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		r, err := newRouteTo(&cfg, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.close)
		time.Sleep(filePeriod / 2)
		for range 3 {
			file.write("http://a:1", "http://b:1")
			time.Sleep(filePeriod)
			if n := len(r.dests()); n != 1 {
				t.Fatalf("%d destinations after one look at a file that changes; want 1", n)
			}
		}
		time.Sleep(filePeriod)
		if n := len(r.dests()); n != 2 {
			t.Errorf("%d destinations after two looks at the same file; want 2", n)
		}
	})
}
