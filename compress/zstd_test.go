package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
)

const zstdMagic = "\x28\xb5\x2f\xfd"

// zstdRaw is a block as it is; last and kind as in RFC 8878, 3.1.1.2.
func zstdRaw(size, kind, last int, content string) string {
	b := binary.LittleEndian.AppendUint32(nil, uint32(size<<3|kind<<1|last))
	return string(b[:3]) + content
}

func TestZstdFrames(t *testing.T) {
	const head = zstdMagic + "\x00\x40" // window of 256 KiB
	abc, empty := zstdRaw(3, 0, 0, "abc"), zstdRaw(0, 0, 0, "")
	for _, c := range []struct {
		name, block string
		want        error
	}{
		{"raw block", head + abc, nil},
		{"repeated byte and raw", head + zstdRaw(1, 1, 0, "a") + zstdRaw(2, 0, 0, "bc"), nil},
		{"empty blocks around", head + empty + abc + empty + empty, nil},
		{"unused bit of the descriptor", zstdMagic + "\x10\x40" + abc, nil},
		{"smaller window", zstdMagic + "\x00\x00" + abc, nil},
		{"larger window", zstdMagic + "\x00\x41" + abc, ErrWindow},
		{"largest window", zstdMagic + "\x00\xff" + abc, ErrWindow},
		{"no frame header", abc, ErrCorrupt},
		{"frame header cut short", zstdMagic + "\x00", ErrCorrupt},
		{"only a frame header", head, ErrCorrupt},
		{"only empty blocks", head + empty + empty, ErrCorrupt},
		{"last block", head + zstdRaw(3, 0, 1, "abc"), ErrCorrupt},
		{"last block and a second frame", head + zstdRaw(1, 0, 1, "a") + head + zstdRaw(2, 0, 0, "bc"), ErrCorrupt},
		{"skippable frame", "\x50\x2a\x4d\x18\x00\x00\x00\x00" + head + abc, ErrCorrupt},
		{"content size in one segment", zstdMagic + "\x20\x03" + abc, ErrCorrupt},
		{"checksum", zstdMagic + "\x04\x40" + abc, ErrCorrupt},
		{"dictionary", zstdMagic + "\x01\x40\x05" + abc, ErrCorrupt},
		{"reserved block type", head + abc + zstdRaw(0, 3, 0, ""), ErrCorrupt},
		{"block cut short", head + abc[:5], ErrCorrupt},
		{"block header cut short", head + abc + "\x00\x00", ErrCorrupt},
		{"block above 128 KiB", head + zstdRaw(zstdBlock+1, 1, 0, "a"), ErrCorrupt},
		{"repeated byte without the byte", head + zstdRaw(3, 1, 0, ""), ErrCorrupt},
		{"compressed block too short", head + zstdRaw(1, 2, 0, "a"), ErrCorrupt},
		{"compressed block of nothing", head + abc + zstdRaw(2, 2, 0, "\x00\x00"), ErrCorrupt},
		{"four bytes", head + zstdRaw(4, 0, 0, "abcd"), ErrCorrupt},
	} {
		p := newPair(t, Zstd, Fastest, 0)
		got, err := p.d.Decode(nil, []byte(c.block), 3)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %q, %v; want %v", c.name, got, err, c.want)
		}
		if c.want == nil && string(got) != "abc" {
			t.Errorf("%s: got %q; want \"abc\"", c.name, got)
		}
		p.e.Reset()
		p.d.Reset()
		p.pass([]byte("works after Reset"))
	}
}

func TestZstdEncoderKeepsToTheWindow(t *testing.T) {
	for _, window := range []int{minWindow, 3000, 64 << 10, 256 << 10} {
		m := NewMemory(-1)
		e, err := m.NewEncoder(Zstd, EncoderOptions{Window: window})
		if err != nil {
			t.Fatal(err)
		}
		b, err := e.Encode(nil, fillJSON(newRand(12), 600<<10))
		if err != nil {
			t.Fatal(err)
		}
		if got, n := zstdHeader(b); n == 0 || got > window {
			t.Errorf("got a window of %d; want at most %d", got, window)
		}
		if window == minWindow {
			continue
		}
		d, err := m.NewDecoder(Zstd, DecoderOptions{Window: minWindow})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Decode(nil, b, 600<<10); !errors.Is(err, ErrWindow) {
			t.Errorf("window %d to a decoder of %d: got %v; want ErrWindow", window, minWindow, err)
		}
	}
}

// What an encoder wrote, once ended by an empty last block, is a frame to anyone.
func TestZstdContextIsOneFrame(t *testing.T) {
	p := newPair(t, Zstd, Better, 0)
	var frame, want []byte
	for _, src := range messages(30, 3<<10) {
		frame = append(frame, p.encode(src)...)
		want = append(want, src...)
	}
	frame = append(frame, zstdRaw(0, 0, 1, "")...)
	r, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.DecodeAll(frame, nil)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %d bytes, %v; want %d", len(got), err, len(want))
	}
}
