package proxy

import "testing"

func TestBudgetCountsWhatItHasNoRoomFor(t *testing.T) {
	b := budget{limit: 1000}
	var first, second int64
	if !b.hold(&first, inputSize+1000) || b.hold(&second, inputSize+1) || !b.hold(&first, inputSize+999) {
		t.Error("what fits is refused, or what does not is taken")
	}
	if n := b.hits.Load(); n != 1 {
		t.Errorf("%d refusals are counted; want 1", n)
	}
	b.free(&first)
	b.free(&second)
	if n := b.used.Load(); n != 0 {
		t.Errorf("%d bytes are held by nobody", n)
	}
}
