package wire

import "testing"

// TestNamesAreStable: codes and types cross the wire, their names end up in metrics and dashboards.
func TestNamesAreStable(t *testing.T) {
	codes := []string{
		0: "code-0", 1: "unreachable", 2: "upstream", 3: "timeout", 4: "overload", 5: "draining",
		6: "request-too-large", 7: "response-too-large", 8: "loop", 9: "internal", 10: "fields-too-large", 11: "code-11",
	}
	for c, want := range codes {
		if got := Code(c).String(); got != want {
			t.Errorf("code %d: got %s; want %s", c, got, want)
		}
	}
	types := []string{
		0x00: "type-0x0", 0x01: "request", 0x02: "response", 0x03: "cancel", 0x04: "failed", 0x05: "not-started",
		0x06: "drain", 0x07: "ping", 0x08: "pong", 0x09: "body-on-stream", 0x0a: "open-for-exchange", 0x0b: "data",
		0x0c: "end", 0x0d: "release", 0x0e: "type-0xe",
	}
	for c, want := range types {
		if got := Type(c).String(); got != want {
			t.Errorf("type %d: got %s; want %s", c, got, want)
		}
	}
	for c, want := range map[ResetCode]string{1: "protocol", 11: "calm", 2: "reset-2"} {
		if got := c.String(); got != want {
			t.Errorf("reset code %d: got %s; want %s", c, got, want)
		}
	}
	for o, want := range []string{"none", "fields", "target", "over-3"} {
		if got := Over(o).String(); got != want {
			t.Errorf("over %d: got %s; want %s", o, got, want)
		}
	}
}

func TestErrorText(t *testing.T) {
	err := &Error{ResetCalm, 4, "batch over limit"}
	if got, want := err.Error(), "wire: batch over limit (calm, offset 4)"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}
