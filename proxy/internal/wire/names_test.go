package wire

import (
	"os"
	"strings"
	"testing"
)

// TestStaticNamesAreThoseOfTheProtocol reads them, and the secret and forbidden ones, from section 4.
func TestStaticNamesAreThoseOfTheProtocol(t *testing.T) {
	text, err := os.ReadFile("../../../PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(text), "Static names, from n = 1: ")
	list, _, _ = strings.Cut(list, ".\n\n")
	got := strings.Fields(strings.ReplaceAll(list, "`", ""))
	if strings.Join(got, " ") != strings.Join(staticNames[:], " ") {
		t.Errorf("PROTOCOL has\n%q\nthe codec\n%q", got, staticNames)
	}
	sentence := "The values of " + strings.Join(secretNames[:6], ", ") + " and " + secretNames[6] + ", in any case"
	if !strings.Contains(strings.Join(strings.Fields(string(text)), " "), sentence) {
		t.Errorf("PROTOCOL does not say %q", sentence)
	}
	if sentence := strings.Join(forbiddenNames[:], ", ") + " and what"; !strings.Contains(string(text), sentence) {
		t.Errorf("PROTOCOL does not say %q", sentence)
	}
}

func TestFindName(t *testing.T) {
	for i, s := range staticNames {
		for _, s := range []string{s, strings.ToLower(s), strings.ToUpper(s)} {
			if got := findName([]byte(s)); got != &names[i+1] || got.static != uint32(i+1) {
				t.Errorf("%s: got name %d; want %d", s, got.static, i+1)
			}
		}
	}
	for _, s := range []string{"", "X", "Accep", "Acceptt", "Cookies", "\x00", strings.Repeat("a", 300), "Ho\x53t\x00", "conne\xe3tion"} {
		if got := findName([]byte(s)); got != &names[0] {
			t.Errorf("%q: got %q; want none", s, got.text)
		}
	}
}

func TestIsForbidden(t *testing.T) {
	for _, s := range []string{"connection", "KEEP-ALIVE", "Proxy-connection", "Transfer-Encoding", "host"} {
		if !IsForbidden([]byte(s)) {
			t.Errorf("%s may be carried", s)
		}
	}
	for _, s := range []string{"TE", "Upgrade", "Trailer", "Hosts", "X-Host", "Via"} {
		if IsForbidden([]byte(s)) {
			t.Errorf("%s is forbidden", s)
		}
	}
}
