package proxy

// fifo is a queue of exchanges that wait, first come first served. It is not safe
// for concurrent use.
type fifo struct {
	items []*exchange
	head  int // items before it are gone
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(ex *exchange) {
	if q.head > len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, ex)
}

// pop removes and returns the first, nil when there is none.
func (q *fifo) pop() *exchange {
	if q.len() == 0 {
		return nil
	}
	ex := q.items[q.head]
	q.items[q.head] = nil
	q.head++
	return ex
}

// takeAll removes and returns those that match, in order.
func (q *fifo) takeAll(match func(*exchange) bool) []*exchange {
	var out []*exchange
	keep := q.items[:q.head]
	for _, ex := range q.items[q.head:] {
		if match(ex) {
			out = append(out, ex)
		} else {
			keep = append(keep, ex)
		}
	}
	clear(q.items[len(keep):])
	q.items = keep
	return out
}

// remove takes ex out and reports whether it was there.
func (q *fifo) remove(ex *exchange) bool {
	return len(q.takeAll(func(x *exchange) bool { return x == ex })) > 0
}
