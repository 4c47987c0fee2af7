package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A value is one flag's: how it is read, how it is shown, and how a file may write it.
type value struct {
	set    func(string) error
	get    func() string
	schema schema
}

const off = "off"

// longest is far more than anybody wants, and less than what the hop can say.
const longest = 30 * 24 * time.Hour

// duration reads a duration of lo to hi; with mayOff also "off", which is -1.
func duration(p *time.Duration, lo, hi time.Duration, mayOff bool) value {
	want := fmt.Sprintf("want %v to %v", lo, shortDuration(hi))
	if mayOff {
		want += ", or off"
	}
	return value{
		schema: withOff(schema{"type": "string", "pattern": `^([0-9]*(\.[0-9]*)?(ns|us|µs|ms|s|m|h))+$`}, mayOff),
		set: func(s string) error {
			if mayOff && s == off {
				*p = -1
				return nil
			}
			d, err := time.ParseDuration(s)
			if _, isBare := strconv.ParseFloat(s, 64); isBare == nil && s != "0" {
				return errors.New("no unit, such as s or ms; " + want)
			}
			if err != nil || d < lo || d > hi {
				return errors.New(want)
			}
			*p = d
			return nil
		},
		get: func() string {
			if *p < 0 {
				return off
			}
			return shortDuration(*p)
		},
	}
}

// shortDuration leaves out the zero minutes and seconds.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// count reads a number of lo to hi; with mayOff also "off", which is -1.
func count(p *int, lo, hi int, mayOff bool) value {
	v := number(p, lo, hi, mayOff, func(s string) (int, error) { return strconv.Atoi(s) }, strconv.Itoa)
	v.schema = withOff(schema{"type": "integer", "minimum": lo, "maximum": hi}, mayOff)
	return v
}

// size reads a number of bytes of lo to hi, such as 64KiB; with mayOff also "off", which is -1.
func size[T int | int64](p *T, lo, hi T, mayOff bool) value {
	v := number(p, lo, hi, mayOff, parseSize, func(n T) string { return formatSize(int64(n)) })
	v.schema = withOff(schema{"type": []string{"string", "integer"}, "pattern": "^[0-9]+(KiB|MiB|GiB)?$", "minimum": lo, "maximum": hi}, mayOff)
	return v
}

func number[T int | int64](p *T, lo, hi T, mayOff bool, parse func(string) (T, error), format func(T) string) value {
	want := fmt.Sprintf("want %s to %s", format(lo), format(hi))
	if mayOff {
		want += ", or off"
	}
	return value{
		set: func(s string) error {
			if mayOff && s == off {
				*p = -1
				return nil
			}
			n, err := parse(s)
			if err != nil || n < lo || n > hi {
				return errors.New(want)
			}
			*p = n
			return nil
		},
		get: func() string {
			if *p < 0 {
				return off
			}
			return format(*p)
		},
	}
}

var sizeUnits = []struct {
	name  string
	shift int
}{{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"", 0}}

func parseSize[T int | int64](s string) (T, error) {
	for _, u := range sizeUnits {
		if digits, ok := strings.CutSuffix(s, u.name); ok {
			n, err := strconv.ParseUint(digits, 10, 62-u.shift)
			return T(n) << u.shift, err
		}
	}
	panic("h2tp: bug: the last unit fits every size")
}

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%(1<<u.shift) == 0 {
			return strconv.FormatInt(n>>u.shift, 10) + u.name
		}
	}
	return "0"
}

// list reads what commas separate; given again, it adds. Each part is checked.
func list(p *[]string, parse func(string) error) value {
	return value{
		schema: manyOf(schema{"type": "string"}),
		set: func(s string) error {
			for part := range strings.SplitSeq(s, ",") {
				part = strings.TrimSpace(part)
				if err := parse(part); err != nil {
					return err
				}
				*p = append(*p, part)
			}
			return nil
		},
		get: func() string { return strings.Join(*p, ",") },
	}
}

// prefixes reads addresses and networks, separated by commas; given again, it adds.
func prefixes(p *[]netip.Prefix) value {
	return value{
		schema: manyOf(schema{"type": "string"}),
		set: func(s string) error {
			for part := range strings.SplitSeq(s, ",") {
				prefix, err := parsePrefix(strings.TrimSpace(part))
				if err != nil {
					return err
				}
				*p = append(*p, prefix)
			}
			return nil
		},
		get: func() string {
			parts := make([]string, len(*p))
			for i, prefix := range *p {
				parts[i] = prefix.String()
			}
			return strings.Join(parts, ",")
		},
	}
}

// parsePrefix reads an address or a network.
func parsePrefix(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	if addr, addrErr := netip.ParseAddr(s); addrErr == nil && addr.Zone() == "" {
		prefix, err = netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	if err != nil || prefix != prefix.Masked() {
		return prefix, fmt.Errorf("%q is no address and no network, such as 10.0.0.0/8 or 2001:db8::/32", s)
	}
	return prefix, nil
}

const none = "none"

// orNone also reads "none", by itself.
func orNone(v value, isNone *bool) value {
	return value{
		schema: v.schema,
		set: func(s string) error {
			if s == none {
				*isNone = true
			} else if err := v.set(s); err != nil {
				return err
			}
			if *isNone && v.get() != "" {
				return errors.New("none is for none besides")
			}
			return nil
		},
		get: func() string {
			if *isNone {
				return none
			}
			return v.get()
		},
	}
}

// text reads anything that is not empty.
func text(p *string) value {
	return value{
		schema: schema{"type": "string"},
		set: func(s string) error {
			if s == "" {
				return errors.New("empty")
			}
			*p = s
			return nil
		},
		get: func() string { return *p },
	}
}

// checked reads what check takes.
func checked(p *string, check func(string) error) value {
	return value{
		schema: schema{"type": "string"},
		set: func(s string) error {
			if err := check(s); err != nil {
				return err
			}
			*p = s
			return nil
		},
		get: func() string { return *p },
	}
}

// checkHashBy takes what a request may be hashed by.
func checkHashBy(s string) error {
	kind, name, _ := strings.Cut(s, ":")
	if s == "target" || (kind == "field" || kind == "cookie") && checkFieldName(name) == nil {
		return nil
	}
	return errors.New("want field:NAME, cookie:NAME or target")
}

// checkPath takes the path of a request, or its beginning.
func checkPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return errors.New("want a path that begins with a slash, of printable ASCII")
	}
	return nil
}

// choice reads one of the names.
func choice(p *string, names ...string) value {
	return value{
		schema: schema{"enum": names},
		set: func(s string) error {
			if slices.Contains(names, s) {
				*p = s
				return nil
			}
			return errors.New("want " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1])
		},
		get: func() string { return *p },
	}
}

// mode reads the permissions of a file.
func mode(p *fs.FileMode) value {
	return value{
		schema: schema{"type": []string{"string", "integer"}},
		set: func(s string) error {
			n, err := strconv.ParseUint(s, 8, 32)
			if err != nil || n > 0o777 {
				return errors.New("want permissions in octal, such as 0660")
			}
			*p = fs.FileMode(n)
			return nil
		},
		get: func() string { return fmt.Sprintf("%04o", *p) },
	}
}

// boolean reads true and false.
func boolean(p *bool) value {
	return value{
		schema: schema{"type": "boolean"},
		set: func(s string) (err error) {
			if *p, err = strconv.ParseBool(s); err != nil {
				return errors.New("want true or false")
			}
			return nil
		},
		get: func() string { return strconv.FormatBool(*p) },
	}
}

// fraction reads a number of 0 to 1.
func fraction(p *float64) value {
	return value{
		schema: schema{"type": "number", "minimum": 0, "maximum": 1},
		set: func(s string) error {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil || !(v >= 0 && v <= 1) {
				return errors.New("want 0 to 1")
			}
			*p = v
			return nil
		},
		get: func() string { return strconv.FormatFloat(*p, 'g', -1, 64) },
	}
}
