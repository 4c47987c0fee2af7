package main

import (
	"bytes"
	"fmt"
	"html"
)

const (
	barHeight  = 15
	panelWidth = 300
	nameWidth  = 90
)

// plot draws, for each cell, a bar for each peer and figure: a row of panels, each with
// its own scale.
func (r *report) plot() []byte {
	shown := []figure{figures[0], figures[3], figures[6], figures[8]}
	var b bytes.Buffer
	y := 40
	for _, cell := range r.cells() {
		peers := r.peers(cell)
		fmt.Fprintf(&b, `<text x="10" y="%d" class="cell">%s</text>`+"\n", y, html.EscapeString(cell))
		for i, f := range shown {
			r.panel(&b, 10+i*(panelWidth+nameWidth+20), y+20, cell, peers, f)
		}
		y += 20 + (len(peers)+1)*barHeight + 35
	}
	width := 10 + len(shown)*(panelWidth+nameWidth+20)
	head := fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">
<style>.cell{font-size:14px;font-weight:bold}.h2tp{fill:#2a7}.other{fill:#89a}</style>
<rect width="100%%" height="100%%" fill="white"/>
<text x="10" y="15">%s</text>
`, width, y, html.EscapeString(r.Machine))
	return append(append([]byte(head), b.Bytes()...), "</svg>\n"...)
}

func (r *report) panel(b *bytes.Buffer, x, y int, cell string, peers []string, f figure) {
	most := 0.0
	for _, p := range peers {
		most = max(most, r.median(cell, p, f))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d">%s</text>`+"\n", x+nameWidth, y, html.EscapeString(f.name))
	for i, p := range peers {
		v := r.median(cell, p, f)
		class, width := "other", 0.0
		if len(p) > 4 && p[:4] == "h2tp" {
			class = "h2tp"
		}
		if most > 0 {
			width = v / most * (panelWidth - 50)
		}
		top := y + 5 + i*barHeight
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text><rect x="%d" y="%d" width="%.1f" height="%d" class="%s"/><text x="%.1f" y="%d">%s</text>`+"\n",
			x+nameWidth-5, top+barHeight-4, p, x+nameWidth, top+1, width, barHeight-3, class, float64(x+nameWidth)+width+4, top+barHeight-4, digits(v))
	}
}
