package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// A measurement is one peer's turn in one round of one cell.
type measurement struct {
	Cell    string             `json:"cell"`
	Peer    string             `json:"peer"`
	Round   int                `json:"round"`
	Result  result             `json:"result"`
	Bytes   float64            `json:"link_bytes_per_exchange"`
	Packets float64            `json:"packets_per_exchange"`
	CPU     map[string]float64 `json:"cpu_us_per_exchange"` // by role
	Waits   map[string]float64 `json:"voluntary_switches_per_exchange"`
	isLate  bool               // the accounts were read when most of it was over
	Forced  map[string]float64 `json:"forced_switches_per_exchange"`
}

// state is what is read before and after.
type state struct {
	at    time.Time
	usage map[string]usage // by role
	link  traffic
}

func (w *world) state(ps []*process) (s state, err error) {
	s.at = time.Now()
	s.usage = make(map[string]usage)
	if s.link, err = w.traffic(); err != nil {
		return s, err
	}
	for _, p := range ps {
		u, err := p.usage()
		if err != nil {
			return s, err
		}
		s.usage[p.role] = u
	}
	return s, nil
}

// measure lets the client load a peer, and reads the accounts when it says that it
// begins and ends.
func (w *world) measure(ctx context.Context, p *peer, c cell) (m measurement, err error) {
	m.Peer = p.name
	cmd := w.command(w.near, w.self, "load", "-addr", p.addr, "-corpus", c.corpus, "-clients", strconv.Itoa(c.clients),
		"-warm", w.o.warm.String(), "-for", w.o.measured.String(), "-at", strconv.FormatUint(w.at, 10))
	w.at += 9973 // what a peer saw in a measurement before is long ago, too
	out, err := cmd.StdoutPipe()
	if err != nil {
		return m, err
	}
	var complaint strings.Builder
	cmd.Stderr = &complaint
	if err := cmd.Start(); err != nil {
		return m, err
	}
	client := &process{role: "client", name: "client", cmd: cmd}
	all := append([]*process{client, w.upstream}, p.processes...)
	var before, after state
	lines := bufio.NewScanner(out)
	for lines.Scan() && err == nil {
		switch line := lines.Text(); line {
		case "begin":
			before, err = w.state(all)
		case "end":
			after, err = w.state(all)
		default:
			err = json.Unmarshal([]byte(line), &m.Result)
		}
	}
	if err != nil {
		cmd.Process.Kill()
	}
	if waitErr := cmd.Wait(); err == nil && waitErr != nil {
		err = fmt.Errorf("client: %w: %s", waitErr, complaint.String())
	}
	if err == nil && m.Result.Exchanges == 0 {
		err = fmt.Errorf("no exchange succeeded: %s; %s", m.Result.Error, p.logs())
	}
	if err == nil {
		m.account(before, after)
		m.isLate = after.at.Sub(before.at).Seconds() < m.Result.Seconds/2
	}
	return m, err
}

// account puts what was read in relation to the exchanges that the client made
// meanwhile: it may have taken a while to read on busy processors.
func (m *measurement) account(before, after state) {
	seconds := after.at.Sub(before.at).Seconds()
	n := float64(m.Result.Exchanges) / m.Result.Seconds * seconds
	m.CPU, m.Waits, m.Forced = make(map[string]float64), make(map[string]float64), make(map[string]float64)
	for role, u := range after.usage {
		b := before.usage[role]
		m.CPU[role] = (u.cpu - b.cpu).Seconds() * 1e6 / n
		m.Waits[role] = float64(u.switches-b.switches) / n
		m.Forced[role] = float64(u.forced-b.forced) / n
	}
	m.Bytes = float64(after.link.Bytes-before.link.Bytes) / n
	m.Packets = float64(after.link.Packets-before.link.Packets) / n
}
