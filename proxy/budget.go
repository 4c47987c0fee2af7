package proxy

import "sync/atomic"

// budget bounds the memory of messages: of all that a front or back holds of
// requests and responses beyond inputSize each. It is checked after a buffer has
// grown, so it may be passed by one growth of each connection that is reading.
type budget struct {
	limit int64
	used  atomic.Int64
	hits  atomic.Int64 // times that the limit was passed
}

// hold moves an account to what it should hold now; false when that is over the
// limit, and the account holds it all the same until it is let go.
func (b *budget) hold(account *int64, want int64) bool {
	want = max(0, want-inputSize)
	d := want - *account
	if d == 0 {
		return true
	}
	*account = want
	if b.used.Add(d) <= b.limit || d < 0 {
		return true
	}
	b.hits.Add(1)
	return false
}

// free empties an account.
func (b *budget) free(account *int64) {
	if *account != 0 {
		b.used.Add(-*account)
		*account = 0
	}
}
