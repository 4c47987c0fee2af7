package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	getters = 8
	posters = 8
	pace    = 8 * time.Millisecond // between two requests of a client
	slow    = time.Second          // more is not normal
)

// load is clients that ask, each with one request at a time.
type load struct {
	addr   string
	client *http.Client
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex // guards all below
	done []asked
	runs map[int]time.Time // since when each client waits
}

// asked is one exchange as its client saw it.
type asked struct {
	isPost     bool
	began, end time.Time
	failure    string
}

func startLoad(addr string) *load {
	l := &load{addr: addr, runs: make(map[int]time.Time)}
	l.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: getters + posters}, Timeout: 30 * time.Second}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	for i := range getters + posters {
		l.wg.Go(func() { l.askLoop(i) })
	}
	return l
}

func (l *load) stop() {
	l.cancel()
	l.wg.Wait()
	l.client.CloseIdleConnections()
}

func (l *load) askLoop(client int) {
	for n := 0; l.ctx.Err() == nil; n++ {
		x := asked{isPost: client >= getters, began: time.Now()}
		l.mu.Lock()
		l.runs[client] = x.began
		l.mu.Unlock()
		if err := l.ask(x.isPost, fmt.Sprintf("%d-%d-%d", x.began.UnixNano(), client, n)); err != nil {
			x.failure = err.Error()
		}
		x.end = time.Now()
		l.mu.Lock()
		delete(l.runs, client)
		l.done = append(l.done, x)
		l.mu.Unlock()
		time.Sleep(pace)
	}
}

func (l *load) ask(isPost bool, id string) error {
	method, path, body := "GET", "/get/"+id, io.Reader(nil)
	if isPost {
		method, path, body = "POST", "/post/"+id, strings.NewReader(id)
	}
	req, err := http.NewRequest(method, "http://"+l.addr+path, body)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != 200:
		return fmt.Errorf("%d %s", resp.StatusCode, strings.TrimSpace(string(got)))
	case string(got) != id:
		return fmt.Errorf("answered with %q", got)
	}
	return nil
}

// settle waits until a second has gone by in which all was well, and everybody was answered.
func (l *load) settle(bound time.Duration) bool {
	for until := time.Now().Add(bound); time.Now().Before(until); time.Sleep(20 * time.Millisecond) {
		if l.isNormal(time.Now()) {
			return true
		}
	}
	return false
}

func (l *load) isNormal(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := now.Add(-time.Second)
	for _, began := range l.runs {
		if now.Sub(began) > slow {
			return false
		}
	}
	n := 0
	for _, x := range slices.Backward(l.done) {
		if x.end.Before(from) {
			return n > getters+posters
		}
		if n++; x.failure != "" || x.end.Sub(x.began) > slow {
			return false
		}
	}
	return false // it has not run for a second
}

// report is what clients saw since a fault.
type report struct {
	gets, posts             int
	failedGets, failedPosts []string
	normalGets, normalPosts time.Duration // from the fault until the last that failed or was slow had ended
}

func (l *load) since(began time.Time) (r report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, x := range l.done {
		if x.end.Before(began) {
			continue
		}
		if x.isPost {
			r.posts++
		} else {
			r.gets++
		}
		if x.failure != "" {
			said := fmt.Sprintf("%q at %d ms, after %d ms", x.failure, x.end.Sub(began).Milliseconds(), x.end.Sub(x.began).Milliseconds())
			if x.isPost {
				r.failedPosts = append(r.failedPosts, said)
			} else {
				r.failedGets = append(r.failedGets, said)
			}
		}
		if x.failure != "" || x.end.Sub(x.began) > slow {
			normal := &r.normalGets
			if x.isPost {
				normal = &r.normalPosts
			}
			*normal = max(*normal, x.end.Sub(began))
		}
	}
	return r
}
