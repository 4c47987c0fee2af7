package admin

import (
	"runtime/metrics"
	"strconv"
	"strings"

	"github.com/h2tp/h2tp/proxy"
)

// page is a page in the text format of Prometheus, version 0.0.4, while it is written.
type page struct {
	b []byte
	f *family // whose samples follow
}

// head begins a family.
func (p *page) head(f *family) {
	p.f = f
	p.b = append(p.b, "# HELP "+f.name+" "+f.help+"\n# TYPE "+f.name+" "+f.kind+"\n"...)
}

// value writes a sample, with values for the family's labels.
func (p *page) value(v float64, labels ...string) { p.sample("", v, labels, "") }

func (p *page) count(n int64, labels ...string) { p.sample("", float64(n), labels, "") }

func (p *page) flag(is bool, labels ...string) {
	v := 0.0
	if is {
		v = 1
	}
	p.sample("", v, labels, "")
}

// histogram writes the cumulative buckets, the sum and the count.
func (p *page) histogram(h proxy.Histogram, labels ...string) {
	total := int64(0)
	for i, n := range h.Counts {
		total += n
		le := "+Inf"
		if i < len(h.Bounds) {
			le = formatFloat(h.Bounds[i])
		}
		p.sample("_bucket", float64(total), labels, le)
	}
	p.sample("_sum", h.Sum, labels, "")
	p.sample("_count", float64(total), labels, "")
}

func (p *page) sample(suffix string, v float64, labels []string, le string) {
	p.b = append(append(p.b, p.f.name...), suffix...)
	if len(labels) != len(p.f.labels) {
		panic("h2tp: bug: labels of " + p.f.name)
	}
	separator := byte('{')
	label := func(name, value string) {
		p.b = append(append(append(p.b, separator), name...), `="`...)
		p.b = append(append(p.b, escaper.Replace(value)...), '"')
		separator = ','
	}
	for i, value := range labels {
		label(p.f.labels[i], value)
	}
	if le != "" {
		label("le", le)
	}
	if separator == ',' {
		p.b = append(p.b, '}')
	}
	p.b = append(append(append(p.b, ' '), formatFloat(v)...), '\n')
}

var escaper = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// readRuntime reads a number that the Go runtime keeps; 0 when it does not know it.
func readRuntime(name string) float64 {
	sample := []metrics.Sample{{Name: name}}
	metrics.Read(sample)
	switch v := sample[0].Value; v.Kind() {
	case metrics.KindUint64:
		return float64(v.Uint64())
	case metrics.KindFloat64:
		return v.Float64()
	}
	return 0
}
