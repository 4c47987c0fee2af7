package main

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/h2tp/h2tp/proxy"
)

// change is what a reload makes before it changes anything.
type change struct {
	*server
	opened []*served
	made   map[kind]end
	moved  []*served // those that were closed, because they were in the way of what was opened
}

// routed is an end whose exchanges take routes.
type routed interface{ SetRoutes([]proxy.Route) error }

// prepare opens what is new and has all ends take the routes. What is wrong with these is wrong for the first. What is tried again and
// again may not move a listener, which nobody reaches for a moment.
func (c *change) prepare(next *options, fresh []endpoint, gone []*served, mayMove bool) (err error) {
	for _, e := range fresh {
		l, err := c.base.listenAt(c.life, e)
		for _, other := range gone {
			if mayMove && errors.Is(err, syscall.EADDRINUSE) && other.isInTheWay(e) {
				other.isClosing.Store(true)
				other.ln.Close()
				c.moved = append(c.moved, other)
				l, err = c.base.listenAt(c.life, e)
			}
		}
		if err != nil {
			return err
		}
		c.opened = append(c.opened, l)
	}
	if c.made, err = c.makeEnds(c.opened, next.ways); err != nil {
		return err
	}
	for _, e := range c.ends {
		if e, ok := e.(routed); ok {
			if err := e.SetRoutes(next.ways); err != nil {
				return err
			}
		}
	}
	return nil
}

// isInTheWay reports whether a listener that goes has the port of one that comes, so that the system may not let both be.
func (l *served) isInTheWay(e endpoint) bool {
	a, ok := l.ln.Addr().(*net.TCPAddr)
	return ok && e.network() == "tcp" && strconv.Itoa(a.Port) == strings.TrimLeft(e.port, "0") && !l.isInherited && !l.isClosing.Load()
}

// commit changes what is served, unless the process drains.
func (c *change) commit(next *options, list []*setting, gone []*served) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isDraining {
		return false
	}
	c.serveLocked(c.opened, c.made)
	c.leaveLocked(gone)
	c.cur, c.list = next, list
	c.base.leastLevel.Set(next.leastLevel.Level())
	return true
}

// undo closes what was made, and listens again where others were in the way.
func (c *change) undo() {
	closeServed(c.opened)
	for _, e := range c.made {
		e.Close()
	}
	for _, was := range c.moved {
		again := was.endpoint
		again.addr = was.ln.Addr().String() // of port 0, too
		l, err := c.base.listenAt(c.life, again)
		c.mu.Lock()
		switch {
		case err != nil:
			c.log.Error("listener lost", "url", was.url, "err", err)
			c.leaveLocked([]*served{was})
		case c.isDraining:
			l.ln.Close()
		default:
			l.endpoint, l.end = was.endpoint, was.end
			c.served[slices.Index(c.served, was)] = l
			c.wg.Go(func() { c.serveLoop(l) })
		}
		c.mu.Unlock()
	}
}
