package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// A report is all that was measured.
type report struct {
	Machine      string        `json:"machine"`
	Args         []string      `json:"args"`
	Begun        time.Time     `json:"begun"`
	Limits       []limit       `json:"xz,omitempty"`
	Measurements []measurement `json:"measurements"`
}

// machine says where it was measured, as far as that is known.
func machine() string {
	model := "unknown processor"
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	f := append(strings.Fields(string(load)), "?")
	return fmt.Sprintf("%s, %d processors, %s, load %s when it began", model, runtime.NumCPU(), runtime.Version(), f[0])
}

// A figure is one thing that is told of a measurement.
type figure struct {
	name    string
	of      func(m measurement) float64
	against []string // peers to which it is put in relation
}

func proxies(m measurement) float64 { return m.CPU["front"] + m.CPU["back"] }

var figures = []figure{
	{"CPU us", proxies, []string{"haproxy", "flate"}},
	{"front", func(m measurement) float64 { return m.CPU["front"] }, nil},
	{"back", func(m measurement) float64 { return m.CPU["back"] }, nil},
	{"bytes", func(m measurement) float64 { return m.Bytes }, []string{"flate", "none"}},
	{"packets", func(m measurement) float64 { return m.Packets }, nil},
	{"waits", func(m measurement) float64 { return m.Waits["front"] + m.Waits["back"] }, nil},
	{"req/s", func(m measurement) float64 { return float64(m.Result.Exchanges) / m.Result.Seconds }, []string{"none", "flate"}},
	{"p50 ms", func(m measurement) float64 { return m.Result.P50 / 1000 }, []string{"nginx"}},
	{"p99 ms", func(m measurement) float64 { return m.Result.P99 / 1000 }, []string{"haproxy"}},
}

// of are a peer's measurements in a cell, by round.
func (r *report) of(cell, peer string) map[int]measurement {
	ms := make(map[int]measurement)
	for _, m := range r.Measurements {
		if m.Cell == cell && m.Peer == peer {
			ms[m.Round] = m
		}
	}
	return ms
}

// median is of a figure, over the rounds.
func (r *report) median(cell, peer string, f figure) float64 {
	var vs []float64
	for _, m := range r.of(cell, peer) {
		vs = append(vs, f.of(m))
	}
	return middle(vs)
}

// ratio is the median of the rounds' ratios of a figure to another peer's, with the
// lowest and the highest.
func (r *report) ratio(cell, peer, to string, f figure) (mid, low, high float64) {
	var vs []float64
	others := r.of(cell, to)
	for round, m := range r.of(cell, peer) {
		if o, ok := others[round]; ok && f.of(o) > 0 {
			vs = append(vs, f.of(m)/f.of(o))
		}
	}
	if len(vs) == 0 {
		return 0, 0, 0
	}
	return middle(vs), slices.Min(vs), slices.Max(vs)
}

func middle(vs []float64) float64 {
	if len(vs) == 0 {
		return 0
	}
	vs = slices.Sorted(slices.Values(vs))
	n := len(vs)
	return (vs[(n-1)/2] + vs[n/2]) / 2
}

// peers are those of a cell, in their order.
func (r *report) peers(cell string) (names []string) {
	for _, m := range r.Measurements {
		if m.Cell == cell && m.Round == 0 {
			names = append(names, m.Peer)
		}
	}
	return names
}

func (r *report) cells() (names []string) {
	for _, m := range r.Measurements {
		if !slices.Contains(names, m.Cell) {
			names = append(names, m.Cell)
		}
	}
	return names
}

// writeCell writes a table in Markdown: medians, and in brackets the medians of the
// rounds' ratios.
func (r *report) writeCell(out io.Writer, c cell) {
	name := c.String()
	fmt.Fprintf(out, "\n%s\n\n| peer |", name)
	var rule strings.Builder
	rule.WriteString("|---|")
	for _, f := range figures {
		fmt.Fprintf(out, " %s |", f.name)
		rule.WriteString("---|")
		for _, to := range f.against {
			fmt.Fprintf(out, " / %s |", to)
			rule.WriteString("---|")
		}
	}
	fmt.Fprintf(out, " errors |\n%s---|\n", rule.String())
	for _, p := range r.peers(name) {
		fmt.Fprintf(out, "| %s |", p)
		for _, f := range figures {
			fmt.Fprintf(out, " %s |", digits(r.median(name, p, f)))
			for _, to := range f.against {
				mid, low, high := r.ratio(name, p, to, f)
				fmt.Fprintf(out, " %s |", spread(mid, low, high))
			}
		}
		errors := 0
		for _, m := range r.of(name, p) {
			errors += m.Result.Errors
		}
		fmt.Fprintf(out, " %d |\n", errors)
	}
	for _, l := range r.Limits {
		if l.Corpus == c.corpus {
			fmt.Fprintf(out, "\nxz -9 of the same messages: %.0f bytes an exchange, without any header of TCP/IP.\n", l.Bytes)
		}
	}
}

// digits is a number with as many as say something.
func digits(v float64) string {
	switch {
	case v == 0:
		return ""
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func spread(mid, low, high float64) string {
	switch {
	case mid == 0 || mid == 1 && low == high:
		return ""
	case low == high:
		return fmt.Sprintf("%.2f", mid)
	}
	return fmt.Sprintf("%.2f (%.2f-%.2f)", mid, low, high)
}

// writeFiles writes pair.json, and a plot of each cell.
func (r *report) writeFiles(dir string, stdout io.Writer) error {
	if dir == "" {
		return nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "pair.json"), b, 0o644); err != nil {
		return err
	}
	svg := r.plot()
	fmt.Fprintf(stdout, "\n%s: pair.json, pair.svg\n", dir)
	return os.WriteFile(filepath.Join(dir, "pair.svg"), svg, 0o644)
}
