package wire

import (
	"os"
	"strings"
	"testing"
)

func TestParseLimits(t *testing.T) {
	def := DefaultAnnounced()
	for _, c := range []struct {
		value string
		want  Announced
	}{
		{"", def},
		{"batch=8388608, window=262144, entries=4096, bytes=524288", def},
		{"batch=65536", Announced{65536, def.Window, def.Entries, def.Bytes}},
		{"entries=0,bytes=0", Announced{def.Batch, def.Window, 0, 0}},
		{" ,\tbytes=4194304 , entries=65536,window=8388608,batch=16777215,", Announced{16777215, 8388608, 65536, 4194304}},
		{"window=1024, color=red, Batch=1, x=", Announced{def.Batch, 1024, def.Entries, def.Bytes}},
	} {
		if got, err := ParseLimits(c.value); err != nil || got != c.want {
			t.Errorf("%q: got %+v, %v; want %+v", c.value, got, err, c.want)
		}
	}
	for _, value := range []string{
		"batch", "batch=", "batch=x", "batch=-1", "batch=+65536", "batch=65535", "batch=16777216", "batch =65536",
		"window=1023", "window=8388609", "entries=65537", "bytes=4194305", "entries=99999999999999999999",
		"entries=1, entries=1", "entries=1;bytes=2",
	} {
		if got, err := ParseLimits(value); err == nil {
			t.Errorf("%q: got %+v; want an error", value, got)
		}
	}
}

// TestAppendLimits: what is announced by default is section 2's example.
func TestAppendLimits(t *testing.T) {
	text, err := os.ReadFile("../../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	got := string(AppendLimits(nil, DefaultAnnounced()))
	if !strings.Contains(string(text), "`h2tp-limits: "+got+"`") {
		t.Errorf("PROTOCOL has no %q", got)
	}
	odd := Announced{70000, 2048, 0, 9}
	if back, err := ParseLimits(string(AppendLimits(nil, odd))); err != nil || back != odd {
		t.Errorf("got %+v, %v; want %+v", back, err, odd)
	}
}

func TestDictIsTheSmallerOfBoth(t *testing.T) {
	a, b := Announced{Entries: 1, Bytes: 9}, Announced{Entries: 2, Bytes: 8}
	if got, want := a.Dict(b), (DictLimits{1, 8}); got != want || b.Dict(a) != want {
		t.Errorf("got %+v; want %+v", got, want)
	}
}
