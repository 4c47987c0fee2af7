package balance

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func groupOf(cfg Config, to ...Destination) (*Group, []*Member) {
	g := NewGroup(cfg)
	g.Replace(0, entriesOf(g, to), false)
	return g, g.Members()
}

func entriesOf(g *Group, to []Destination) (entries []Entry) {
	for i, d := range to {
		if d.URL == "" {
			d.URL = fmt.Sprint("member ", i)
		}
		entries = append(entries, Entry{g.NewMember(d.URL, nil, true), d.Weight, d.Tier})
	}
	return entries
}

// load runs n exchanges, some at once, each as long as took says, and returns how
// many each member had.
func load(g *Group, n, atOnce int, seed uint64, took func(m *Member, r *rand.Rand) time.Duration) map[*Member]int {
	type running struct {
		m     *Member
		since time.Duration
		until time.Duration
	}
	r := rand.New(rand.NewPCG(seed, 0))
	var all []running
	counts := make(map[*Member]int)
	now := time.Duration(0)
	for range n {
		if len(all) == atOnce {
			next := 0
			for i := range all {
				if all[i].until < all[next].until {
					next = i
				}
			}
			now = all[next].until
			all[next].m.Done(now, now-all[next].since, false)
			all = slices.Delete(all, next, next+1)
		}
		m := g.Pick(now, r.Uint64(), nil)
		m.Begin()
		counts[m]++
		all = append(all, running{m, now, now + took(m, r)})
	}
	for _, x := range all {
		x.m.Drop()
	}
	return counts
}

func steady(_ *Member, r *rand.Rand) time.Duration {
	return time.Duration(r.Int64N(int64(2*time.Millisecond))) + 1
}

func TestSpreadIsWithinFivePercentOfTheWeights(t *testing.T) {
	weights := map[string][]int{"three": {1, 1, 1}, "uneven": {3, 2, 1}, "steep": {10, 1}}
	many := make([]int, 50)
	for i := range many {
		many[i] = 1 + i%3
	}
	weights["fifty"] = many
	for _, p := range []Policy{Least, RoundRobin} {
		for name, list := range weights {
			for _, atOnce := range []int{1, 2, 7, 64} {
				var to []Destination
				sum := 0
				for _, w := range list {
					to = append(to, Destination{Weight: w})
					sum += w
				}
				seed := rand.Uint64()
				g, members := groupOf(Config{Policy: p}, to...)
				n := max(2000*len(list), 100_000) // by least 64 at once the mean is 3.8 % off and, of 100,000, the deviation 0.2 %
				counts := load(g, n, atOnce, seed, steady)
				for i, m := range members {
					want := float64(n*list[i]) / float64(sum)
					if got := float64(counts[m]); math.Abs(got-want) > 0.05*want {
						t.Errorf("%v %s, %d at once: member %d of weight %d had %v; want %v (seed %d)", p, name, atOnce, i, list[i], got, want, seed)
					}
				}
			}
		}
	}
}

func TestLeastSparesTheSlow(t *testing.T) {
	for _, n := range []int{3, 50} {
		g, members := groupOf(Config{}, make([]Destination, n)...)
		slow := members[n-1]
		counts := load(g, 200*n, 4*n, 1, func(m *Member, r *rand.Rand) time.Duration {
			if m == slow {
				return 50 * time.Millisecond
			}
			return steady(m, r)
		})
		if c := counts[slow]; c > 50 {
			t.Errorf("of %d, the slow one had %d exchanges of an average of 200", n, c)
		}
	}
}

func TestLatencyPrefersWhatAnswersSoonerAndForgives(t *testing.T) {
	g, members := groupOf(Config{Policy: Latency}, Destination{}, Destination{}, Destination{})
	far := members[2]
	lag := 20 * time.Millisecond
	took := func(m *Member, r *rand.Rand) time.Duration {
		if m == far {
			return lag
		}
		return steady(m, r)
	}
	if counts := load(g, 3000, 2, 1, took); counts[far] > 30 {
		t.Errorf("the far one had %d of 3000", counts[far])
	}
	// Not asked for long, it is tried again.
	if c := g.view.Load().tiers[0].cost(2, 2*time.Minute); c > 1e5 {
		t.Errorf("after two minutes its cost is still %v", c)
	}
}

func TestLatencyAsksANewcomerOnceUntilItAnswers(t *testing.T) {
	g, members := groupOf(Config{Policy: Latency}, Destination{}, Destination{})
	load(g, 1000, 2, 1, steady)
	entries := entriesOf(g, []Destination{{URL: "silent"}})
	g.Replace(time.Second, append([]Entry{{members[0], 1, 0}, {members[1], 1, 0}}, entries...), true)
	silent := entries[0].Member
	if counts := load(g, 1000, 8, 2, func(m *Member, r *rand.Rand) time.Duration {
		if m == silent {
			return time.Hour
		}
		return steady(m, r)
	}); counts[silent] != 1 {
		t.Errorf("the one that does not answer has %d of 1000", counts[silent])
	}
	silent.Begin()
	silent.Done(time.Minute, time.Minute, true) // it ran out of time: no better than that
	if c := g.view.Load().tiers[0].cost(2, time.Minute); c < float64(time.Minute) {
		t.Errorf("after a minute without an answer its cost is %v", time.Duration(c))
	}
}

func TestLatencySpreadsByWeightWhereTimesAreAlike(t *testing.T) {
	g, members := groupOf(Config{Policy: Latency}, Destination{Weight: 3}, Destination{Weight: 7}, Destination{Weight: 11}, Destination{Weight: 1})
	counts := load(g, 22000, 1, 1, func(*Member, *rand.Rand) time.Duration { return time.Millisecond })
	for i, w := range []float64{3, 7, 11, 1} {
		if got := float64(counts[members[i]]) / 22000; math.Abs(got-w/22) > 0.05*w/22 {
			t.Errorf("weight %v has %.4f; want %.4f", w, got, w/22)
		}
	}
}

func TestWhoWasLeftOutIsALastResort(t *testing.T) {
	g, members := groupOf(Config{EjectAfter: 1, EjectTime: time.Minute, MaxEjected: 1}, Destination{}, Destination{}, Destination{})
	members[0].Begin()
	members[0].Done(0, 0, true)
	for range 100 {
		if m := g.Pick(0, 0, nil); m == members[0] {
			t.Fatal("chose who was left out")
		}
		if m := g.Pick(0, 0, members[1:]); m != members[0] {
			t.Fatalf("chose %s a second time", m.Name())
		}
	}
	g.Reach(0, members[0], false)
	if m := g.Pick(0, 0, members[1:]); m == members[0] {
		t.Error("chose one that cannot be reached")
	}
}

func TestOneOfTriedIsChosenOnlyWhenNoOtherIsLeft(t *testing.T) {
	for _, p := range []Policy{Least, RoundRobin, Latency, Hash} {
		g, members := groupOf(Config{Policy: p}, Destination{}, Destination{}, Destination{Tier: 1})
		for i := range 100 {
			if m := g.Pick(0, uint64(i), members[:2]); m != members[2] {
				t.Fatalf("%v: chose %s", p, m.Name())
			}
			if m := g.Pick(0, uint64(i), members); m == nil {
				t.Fatalf("%v: chose none", p)
			}
		}
	}
}

// share is the part of choices that members have.
func share(g *Group, members ...*Member) float64 {
	n := 0
	for i := range 10000 {
		if slices.Contains(members, g.Pick(0, mix(uint64(i)), nil)) {
			n++
		}
	}
	return float64(n) / 10000
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.02 }

func TestTiersFailOverByTheShareOfHealthyMembers(t *testing.T) {
	g, m := groupOf(Config{PanicBelow: 0.3}, Destination{}, Destination{}, Destination{}, Destination{}, Destination{Tier: 1}, Destination{Tier: 1})
	near0 := func() float64 { return share(g, m[:4]...) }
	for down, want := range []float64{1, 1, 0.7, 0.35, 0} {
		if down > 0 {
			g.Check(0, m[down-1], false)
		}
		if got := near0(); !near(got, want) {
			t.Errorf("with %d of 4 down, the first tier has %.3f; want %.2f", down, got, want)
		}
	}
	g.Check(0, m[0], true)
	if got := share(g, m[0]); !near(got, 0.35) {
		t.Errorf("one that is back has %.3f; want 0.35", got)
	}
}

func TestWhenTooFewAreLeftAllAreUsed(t *testing.T) {
	g, m := groupOf(Config{PanicBelow: 0.5}, Destination{}, Destination{}, Destination{}, Destination{})
	g.Refused(0, m[0])
	g.Check(0, m[1], false)
	if got := share(g, m[0], m[1]); got != 0 {
		t.Errorf("two of four are out and have %.3f", got)
	}
	g.Check(0, m[2], false)
	if got := share(g, m[1], m[2]); !near(got, 2./3) {
		t.Errorf("in panic those judged have %.3f; want 0.67", got)
	}
	if got := share(g, m[0]); got != 0 {
		t.Errorf("in panic what cannot be reached has %.3f; want 0", got)
	}
	for _, x := range m {
		g.Reach(0, x, false)
	}
	if got := share(g, m...); got != 1 {
		t.Error("with none to be reached, none is chosen")
	}
}

func TestFailuresInARowEjectForAGrowingTime(t *testing.T) {
	g, m := groupOf(Config{EjectAfter: 3, EjectTime: time.Second, MaxEjected: 0.5}, Destination{}, Destination{})
	fail := func(now time.Duration, n int) {
		for range n {
			m[0].Begin()
			m[0].Done(now, 0, true)
		}
	}
	fail(0, 2)
	m[0].Begin()
	m[0].Done(0, 0, false)
	fail(0, 2)
	if m[0].Why() != "" {
		t.Fatal("ejected before three failures in a row")
	}
	fail(0, 1)
	now := time.Duration(0)
	for _, want := range []time.Duration{1, 2, 4, 8} {
		want *= time.Second
		if m[0].Why() != "ejected" || share(g, m[0]) != 0 {
			t.Fatal("not ejected")
		}
		g.Sweep(now + want - 1)
		if m[0].Why() != "ejected" {
			t.Fatalf("back before %v", want)
		}
		now += want
		g.Sweep(now)
		if m[0].Why() != "" {
			t.Fatalf("not back after %v", want)
		}
		fail(now, 1) // one is enough now
	}
	for range 3 {
		m[1].Begin()
		m[1].Done(now, 0, true)
	}
	if m[1].Why() != "" {
		t.Error("more than half are ejected")
	}
	if m[0].Ejections() != 5 || m[1].Ejections() != 0 {
		t.Errorf("%d and %d ejections are counted; want 5 and 0", m[0].Ejections(), m[1].Ejections())
	}
}

func TestAShareOfFailuresEjects(t *testing.T) {
	g, m := groupOf(Config{EjectAfter: 5, EjectShare: 0.4, EjectTime: time.Second, MaxEjected: 1}, Destination{}, Destination{})
	for i := range 30 {
		for k := range m {
			m[k].Begin()
			m[k].Done(0, 0, k == 0 && i%2 == 0)
		}
	}
	g.Sweep(time.Second)
	if m[0].Why() != "ejected" || m[1].Why() != "" {
		t.Errorf("%q, %q; want ejected and nothing", m[0].Why(), m[1].Why())
	}
}

func TestRefusedGrowsToABoundAndIsForgotten(t *testing.T) {
	g, m := groupOf(Config{}, Destination{}, Destination{})
	now := time.Duration(0)
	for _, want := range []time.Duration{1, 2, 4, 4} {
		g.Refused(now, m[0])
		g.Refused(now, m[0]) // of another that was dialling
		g.Sweep(now + want*time.Second - 1)
		if m[0].Why() != "unreachable" {
			t.Fatalf("back before %d s", want)
		}
		now += want * time.Second
		g.Sweep(now)
		if m[0].Why() != "" {
			t.Fatalf("not back after %d s", want)
		}
	}
	if g.Refused(now, m[0]); !g.Check(now, m[0], true) || m[0].Why() != "" {
		t.Error("a check that passes does not bring it back")
	}
}

func TestNewcomersStartSlowly(t *testing.T) {
	g, m := groupOf(Config{SlowStart: 10 * time.Second}, Destination{})
	if m[0].isStarting {
		t.Error("the first starts slowly")
	}
	late := g.NewMember("late", nil, true)
	g.Replace(0, []Entry{{m[0], 1, 0}, {late, 1, 0}}, true)
	for at, want := range map[time.Duration]float64{0: 0.1 / 1.1, 5: 0.55 / 1.55, 10: 0.5} {
		g.Sweep(at * time.Second)
		if got := share(g, late); at != 0 && !near(got, want) {
			t.Errorf("after %d s it has %.3f; want %.3f", at, got, want)
		}
		if at == 10 {
			break
		}
	}
	g.Sweep(20 * time.Second)
	g.Check(20*time.Second, m[0], false)
	g.Check(20*time.Second, m[0], true)
	if got := share(g, m[0]); !near(got, 0.1/1.1) {
		t.Errorf("one that is back has %.3f; want 0.09", got)
	}
}

func TestCapacityBehindAMemberIsItsWeight(t *testing.T) {
	g, m := groupOf(Config{}, Destination{Weight: 2}, Destination{Weight: 2})
	g.Capacity(0, m[0], 0.5)
	if got := share(g, m[0]); !near(got, 1./3) {
		t.Errorf("with half of its upstreams it has %.3f; want 0.33", got)
	}
	if got := g.Healthy(); got != 0.75 {
		t.Errorf("Healthy() = %v; want 0.75", got)
	}
	g.Capacity(0, m[0], 0)
	if got := share(g, m[0]); got != 0 || m[0].Why() != "upstreams" {
		t.Errorf("without upstreams it has %.3f, %q", got, m[0].Why())
	}
}

func TestAKeyStaysWithItsMember(t *testing.T) {
	to := make([]Destination, 20)
	g, m := groupOf(Config{Policy: Hash}, to...)
	before := make(map[uint64]*Member)
	counts := make(map[*Member]int)
	for i := range 20000 {
		k := KeyOf(fmt.Sprint("user ", i))
		before[k] = g.Pick(0, k, nil)
		counts[before[k]]++
	}
	for i, x := range m {
		if c := counts[x]; c < 600 || c > 1400 {
			t.Errorf("member %d has %d of 20000 keys", i, c)
		}
	}
	var entries []Entry
	for _, x := range m {
		if x != m[7] {
			entries = append(entries, Entry{x, 1, 0})
		}
	}
	g.Replace(0, entries, true)
	for k, was := range before {
		if is := g.Pick(0, k, nil); is != was && was != m[7] {
			t.Fatalf("a key moved from %s to %s when another went", was.Name(), is.Name())
		}
	}
}

func TestAKeyKeepsToItsTier(t *testing.T) {
	g, members := groupOf(Config{Policy: Hash}, Destination{}, Destination{}, Destination{Tier: 1}, Destination{Tier: 1})
	g.Check(0, members[0], false) // the first tier takes seven tenths
	first := 0
	for k := range 1000 {
		key := KeyOf(fmt.Sprint("key ", k))
		m := g.Pick(0, key, nil)
		for range 20 {
			if other := g.Pick(0, key, nil); other != m {
				t.Fatalf("key %d: %s and %s", k, m.Name(), other.Name())
			}
		}
		if m == members[1] {
			first++
		}
	}
	if first < 650 || first > 750 {
		t.Errorf("the first tier has %d of 1000 keys; want 700", first)
	}
}

func TestKeysAreByWeightAndNoneMoveButThoseOfWhoLeft(t *testing.T) {
	weights := []float64{1, 1, 1, 100, 1000}
	var to []Destination
	for _, w := range weights {
		to = append(to, Destination{Weight: int(w)})
	}
	g, members := groupOf(Config{Policy: Hash}, to...)
	const n = 100_000
	counts := make(map[*Member]int)
	before := make([]*Member, n)
	for i := range n {
		before[i] = g.Pick(0, KeyOf(fmt.Sprint(i)), nil)
		counts[before[i]]++
	}
	for i, w := range weights {
		want := n * w / 1103
		if d := float64(counts[members[i]]) - want; math.Abs(d) > 6*math.Sqrt(want) {
			t.Errorf("weight %v has %d keys; want %.0f", w, counts[members[i]], want)
		}
	}
	var entries []Entry
	for i, m := range members[:4] {
		entries = append(entries, Entry{m, int(weights[i]), 0})
	}
	g.Replace(0, entries, false)
	for i, m := range before {
		if now := g.Pick(0, KeyOf(fmt.Sprint(i)), nil); m != members[4] && now != m {
			t.Fatalf("key %d moved from %s to %s, though another left", i, m.Name(), now.Name())
		}
	}
}

func TestNoMemberHasMuchMoreThanItsShareOfOneKey(t *testing.T) {
	g, m := groupOf(Config{Policy: Hash}, make([]Destination, 5)...)
	for range 1000 {
		g.Pick(0, 42, nil).Begin()
	}
	for _, x := range m {
		if x.Load() > 251 {
			t.Errorf("%s has %d of 1000 at once; want 250 at most", x.Name(), x.Load())
		}
	}
}

func TestRetriesAreAShareAndSoManyASecond(t *testing.T) {
	r := NewRetries(0.2, 3)
	take := func() (n int) {
		for r.Take() {
			n++
		}
		return n
	}
	if n := take(); n != 30 {
		t.Errorf("%d at first; want 30", n)
	}
	now, exchanges := time.Duration(0), int64(0)
	for range 100 {
		now += 100 * time.Millisecond
		exchanges += 50
		r.Tick(now, exchanges)
	}
	if n := take(); n < 920 || n > 1035 { // nine seconds and a part of the tenth
		t.Errorf("%d after 5000 exchanges in 10 s; want some 1000", n)
	}
	for range 3000 { // five minutes of silence
		now += 100 * time.Millisecond
		r.Tick(now, exchanges)
	}
	if n := take(); n < 29 || n > 31 {
		t.Errorf("%d after a silence; want 30", n)
	}
	if n := r.Refused(); n != 3 { // the last of each turn
		t.Errorf("%d are counted as refused; want 3", n)
	}
	if none := NewRetries(-1, 0); !none.Take() {
		t.Error("without a bound none is to be had")
	}
}

func TestDestinationsAreURLsWithParameters(t *testing.T) {
	for s, want := range map[string]Destination{
		"http://a:80":                 {URL: "http://a:80", Weight: 1},
		"http://a:80;weight=3":        {URL: "http://a:80", Weight: 3},
		"h2tp://a/x;tier=1;weight=10": {URL: "h2tp://a/x", Weight: 10, Tier: 1},
		"unix:///a%3Bb;tier=9":        {URL: "unix:///a%3Bb", Weight: 1, Tier: 9},
		"http://a;resolve=30s;tier=1": {URL: "http://a", Weight: 1, Tier: 1, Every: 30 * time.Second},
		"http://_http._tcp.a;srv=1m":  {URL: "http://_http._tcp.a", Weight: 1, Every: time.Minute, IsSRV: true},
		"http://a;max=50":             {URL: "http://a", Weight: 1, Max: 50},
	} {
		if got, err := ParseDestination(s); got != want || err != nil {
			t.Errorf("%q is %+v, %v; want %+v", s, got, err, want)
		}
	}
	for _, s := range []string{"http://a;", "http://a;weight=0", "http://a;weight=1001", "http://a;tier=10", "http://a;weight", "http://a;wait=1", "http://a;tier=1;tier=1", "http://a;weight=-1", "http://a;;tier=1", "http://a;resolve", "http://a;resolve=99ms", "http://a;srv=1s;resolve=1s", "http://a;srv=1s;tier=1", "http://a;max=0", "http://a;max=1;max=1"} {
		if d, err := ParseDestination(s); err == nil {
			t.Errorf("%q is %+v; want an error", s, d)
		}
	}
}

func TestAChoiceAllocatesNothing(t *testing.T) {
	for _, p := range []Policy{Least, RoundRobin, Latency, Hash} {
		g, m := groupOf(Config{Policy: p}, make([]Destination, 100)...)
		tried := []*Member{m[0], m[1]}
		if n := testing.AllocsPerRun(100, func() {
			x := g.Pick(0, 7, tried)
			x.Begin()
			x.Done(0, time.Millisecond, false)
		}); n != 0 {
			t.Errorf("%v: %v allocations", p, n)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, p := range []Policy{Least, RoundRobin, Latency, Hash} {
		for _, n := range []int{2, 8, 100} {
			b.Run(fmt.Sprintf("policy=%v/members=%d", p, n), func(b *testing.B) {
				g, members := groupOf(Config{Policy: p}, make([]Destination, n)...)
				for _, m := range members {
					m.Begin()
				}
				b.ReportAllocs()
				key := uint64(0)
				for b.Loop() {
					key += golden
					m := g.Pick(0, key, nil)
					m.Begin()
					m.Done(0, time.Millisecond, false)
				}
			})
		}
	}
}
