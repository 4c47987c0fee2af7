package admin

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
)

// Every metric that the dashboard names is on the page, with the labels it asks for.
func TestDashboardNamesMetricsThatThereAre(t *testing.T) {
	b, err := os.ReadFile("../../../../deploy/grafana/h2tp.json")
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(b, &dashboard); err != nil {
		t.Fatal(err)
	}
	has := make(map[string]*family)
	for i := range families {
		f := &families[i]
		if has[f.name] = f; f.kind == "histogram" {
			has[f.name+"_bucket"] = f
		}
	}
	metric := regexp.MustCompile(`\b(?:h2tp|go|process)_[a-z0-9_]+`)
	label := regexp.MustCompile(`{{(\w+)}}`)
	n := 0
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range metric.FindAllString(target.Expr, -1) {
				n++
				f := has[name]
				if f == nil {
					t.Errorf("%s: no metric %s", p.Title, name)
					continue
				}
				for _, m := range label.FindAllStringSubmatch(target.LegendFormat, -1) {
					if !strings.Contains(" "+strings.Join(f.labels, " ")+" ", " "+m[1]+" ") {
						t.Errorf("%s: %s has no label %s", p.Title, name, m[1])
					}
				}
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d metrics found", n)
	}
}
