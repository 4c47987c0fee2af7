package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	short, loopback, xz     bool
	corpora, links, tls     []string
	clients                 []int
	peers                   []string // none: all
	rounds                  int
	warm, measured          time.Duration
	out, h2tp, base, strong string
}

// A cell is what one table of the report is about.
type cell struct {
	corpus  string
	clients int
	link    string // "uncapped", or a rate that tc understands
	isTLS   bool
}

func (c cell) String() string {
	tls := "clear"
	if c.isTLS {
		tls = "TLS"
	}
	return fmt.Sprintf("%s, %d clients, %s, %s", c.corpus, c.clients, c.link, tls)
}

func parseOptions(args []string) (options, error) {
	var o options
	fs := newFlagSet("pair")
	corpora := fs.String("corpora", "tiny,items,rtb", "corpora")
	links := fs.String("links", uncapped, "rates of the link, as tc writes them: uncapped,20mbit")
	tls := fs.String("tls", "off", "TLS on the hop: off, on, or both: off,on")
	clients := fs.String("clients", "64,512", "connections of the client, each with one request at a time: 1,64,512,5000")
	peers := fs.String("peers", "", "peers that take part; all without it")
	fs.IntVar(&o.rounds, "rounds", 3, "rounds")
	fs.DurationVar(&o.warm, "warm", 300*time.Millisecond, "load before each measurement")
	fs.DurationVar(&o.measured, "for", time.Second, "a measurement")
	fs.StringVar(&o.out, "out", "", "directory for pair.json and the plots; none are written without it")
	fs.StringVar(&o.h2tp, "h2tp", "", "binary of h2tp; built when empty")
	fs.StringVar(&o.base, "base", "", "another binary of h2tp, to compare with: peers base-none and base-zstd")
	fs.StringVar(&o.strong, "strong", "", "flags of h2tp serve that choose its strongest level: peer h2tp-strong")
	fs.BoolVar(&o.loopback, "loopback", false, "no namespaces, as without root: bytes and packets are not counted, links not capped")
	fs.BoolVar(&o.xz, "xz", true, "compare with xz -9 of the same messages, when there is xz")
	fs.BoolVar(&o.short, "short", false, "three small cells of one round each, half a minute: does it run at all?")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	o.corpora, o.links, o.tls, o.peers = list(*corpora), list(*links), list(*tls), list(*peers)
	for _, s := range list(*clients) {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			return o, fmt.Errorf("-clients: %q is not a number of clients", s)
		}
		o.clients = append(o.clients, n)
	}
	for _, name := range o.corpora {
		if makers[name] == nil {
			return o, fmt.Errorf("-corpora: there is no %q", name)
		}
	}
	for _, s := range o.tls {
		if s != "on" && s != "off" {
			return o, fmt.Errorf("-tls: %q is neither on nor off", s)
		}
	}
	if o.short {
		o.xz, o.rounds, o.warm, o.measured = false, 1, 100*time.Millisecond, 200*time.Millisecond
	}
	return o, nil
}

func (o options) tlsModes() []bool {
	if o.short {
		return []bool{false, true}
	}
	var modes []bool
	for _, s := range o.tls {
		modes = append(modes, s == "on")
	}
	return modes
}

func (o options) cells(isTLS bool) []cell {
	if o.short && isTLS {
		return []cell{{"items", 64, "20mbit", true}}
	}
	if o.short {
		return []cell{{"tiny", 1, uncapped, false}, {"rtb", 512, uncapped, false}}
	}
	var cells []cell
	for _, link := range o.links {
		for _, corpus := range o.corpora {
			for _, n := range o.clients {
				cells = append(cells, cell{corpus, n, link, isTLS})
			}
		}
	}
	return cells
}

func (o options) wants(peer string) bool {
	return len(o.peers) == 0 || slices.Contains(o.peers, peer)
}

// allCorpora are those of any cell.
func (o options) allCorpora() string {
	if o.short {
		return "tiny,items,rtb"
	}
	return strings.Join(o.corpora, ",")
}
