package proxy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"github.com/h2tp/h2tp/proxy/internal/http1"
	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// checkLoop asks the upstream how it is, each CheckPeriod: after CheckFall
// failures in a row it is left out, after CheckRise successes it is back.
func (u *upstream) checkLoop() {
	isPassing, row := true, 0 // of results that say otherwise
	period := u.cfg.CheckPeriod
	timer := time.NewTimer(rand.N(period)) // not all at once
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-u.leavec:
			return
		}
		err := u.check()
		select {
		case <-u.leavec:
			return
		default:
		}
		need := u.cfg.CheckFall
		if !isPassing {
			need = u.cfg.CheckRise
		}
		if row++; (err == nil) == isPassing {
			row = 0
		}
		if row >= need {
			isPassing, row = !isPassing, 0
			if isPassing {
				u.cfg.Logger.Info("upstream passes its checks", "upstream", u.end.url)
			} else {
				u.cfg.Logger.Warn("upstream fails its checks", "upstream", u.end.url, "err", err)
			}
		}
		if isPassing == (err == nil) { // one that refused connections is back as soon as it answers
			u.route.group.Check(u.route.now(), u.member, isPassing)
		}
		if !isPassing && isSilent(err) {
			u.giveUp(err)
		}
		timer.Reset(period*9/10 + rand.N(period/5+1))
	}
}

// check makes one request, on a connection of its own.
func (u *upstream) check() error {
	ctx, cancel := context.WithTimeout(u.ctx, u.cfg.CheckTimeout)
	defer cancel()
	nc, _, err := dialUpstream(ctx, u.cfg, u.end)
	if err != nil {
		return err
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	b := http1.AppendRequestLine(nil, methodGet, []byte(u.cfg.CheckPath), []byte(u.end.host))
	b = http1.AppendField(b, "User-Agent", "h2tp")
	b = http1.AppendField(b, "Connection", "close")
	if _, err := nc.Write(http1.AppendEnd(b, 0)); err != nil {
		return err
	}
	var head http1.ResponseHead
	in := make([]byte, 0, 1<<10)
	for {
		if len(in) == cap(in) {
			in = append(in, 0)[:len(in)]
		}
		n, err := nc.Read(in[len(in):cap(in)])
		in = in[:len(in)+n]
		used, parseErr := http1.ParseResponseHead(in, &head, u.lim)
		switch {
		case parseErr != nil:
			return parseErr
		case used > 0 && head.Status < 200:
			in = append(in[:0], in[used:]...)
			head.Reset()
		case used > 0:
			return u.judge(head.Status)
		case ctx.Err() != nil:
			return errCheckLate
		case err != nil:
			return err
		}
	}
}

var errCheckLate = errors.New("no response in time")

// isSilent reports whether a check found nobody: neither an answer nor a refusal.
func isSilent(err error) bool {
	ne, ok := errors.AsType[net.Error](err)
	return err == errCheckLate || ok && ne.Timeout()
}

// giveUp closes the idle connections to an upstream that is silent, since whatever is in the
// way may have lost them for good, and takes away what may be asked elsewhere. The rest keeps
// waiting: it may only be stopped for a while.
func (u *upstream) giveUp(err error) {
	u.mu.Lock()
	idle := u.free
	u.free = nil
	conns := slices.Collect(maps.Keys(u.conns))
	u.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
	if u.route.set.Load().only != nil {
		return
	}
	for _, c := range conns {
		ex := c.takeSafe()
		if ex != nil || c.pipe != nil { // what waits on a pipelined one may be asked elsewhere, too
			c.close()
		}
		if ex != nil {
			u.fail(ex, failure{code: wire.CodeUpstream, err: err})
		}
	}
}

// judge says what is wrong with a check's status.
func (u *upstream) judge(status int) error {
	want := u.cfg.CheckStatus
	if want == status || want == 0 && status < 400 {
		return nil
	}
	return fmt.Errorf("status %d", status)
}
