package main

import "testing"

func TestProcessorsFollowTheLoad(t *testing.T) {
	p := &procs{n: 1, most: 4}
	for i, turn := range []struct {
		used float64
		want int
	}{{0.1, 1}, {0.84, 1}, {0.9, 2}, {1.9, 3}, {2, 3}, {2.9, 4}, {4, 4}} {
		if got := p.next(turn.used); got != turn.want {
			t.Errorf("turn %d: got %d; want %d", i, got, turn.want)
		}
	}
	for i := range procsCalm { // a pause does not count until it lasts
		if got := p.next(1); got != 4 && i < procsCalm-1 {
			t.Fatalf("turn %d: got %d; want 4", i, got)
		}
	}
	if p.n != 3 {
		t.Errorf("after %d calm turns: got %d; want 3", procsCalm, p.n)
	}
	for range 10 * procsCalm {
		p.next(0)
	}
	if p.n != 1 {
		t.Errorf("idle: got %d; want 1", p.n)
	}
}
