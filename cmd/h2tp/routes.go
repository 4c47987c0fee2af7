package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/h2tp/h2tp/proxy"
)

// routesKey is the key of a file's routes; there is no flag for them.
const routesKey = "routes"

// routeSettings are those that a route may have of its own, besides its name, host, path and to.
var routeSettings = []string{
	"get-only", "max-upstream-conns", "pipeline", "pipeline-conns", "policy", "hash-by", "slow-start", "eject-after", "eject-percent", "eject-time", "max-ejected",
	"panic-below", "check-path", "check-status", "check-period", "check-timeout", "check-fall", "check-rise", "retry-percent", "retry-min",
	"repeat-idempotent", "leave-timeout", "timeout", "connect-timeout", "queue-timeout",
}

// fileRoute is one of a file's routes.
type fileRoute struct {
	options          // of which those of routeSettings and to are set
	list             []*setting
	name, host, path string
	line             int
}

// readRoutes reads what a file has below routesKey, once all else has been read: it is what a route has unless it says otherwise.
func (o *options) readRoutes(file string, k key) error {
	list, ok := k.value.(*ast.SequenceNode)
	if !ok || len(list.Values) == 0 {
		return fmt.Errorf("%s:%d: %s: want a list of routes", file, k.line, routesKey)
	}
	for _, n := range list.Values {
		s, err := readSection(file, n)
		if err != nil {
			return err
		}
		r, err := o.readRoute(s, n.GetToken().Position.Line)
		if err != nil {
			return err
		}
		o.routes = append(o.routes, r)
	}
	return nil
}

func (o *options) readRoute(s section, line int) (*fileRoute, error) {
	r := &fileRoute{line: line}
	r.list = r.settings()
	r.Limits, r.Balance = o.Limits, o.Balance
	if len(s.keys) > 0 {
		r.line = s.keys[0].line
	}
	own := map[string]value{"name": checked(&r.name, checkName), "host": checked(&r.host, checkHost), "path": checked(&r.path, checkPrefix)}
	for _, k := range s.keys {
		i := slices.IndexFunc(r.list, func(s *setting) bool { return s.name == k.name })
		var err error
		switch v, isOwn := own[k.name]; {
		case isOwn:
			err = k.set(s.file, &setting{value: v})
		case i >= 0 && (k.name == "to" || slices.Contains(routeSettings, k.name)):
			err = k.set(s.file, r.list[i])
		case i >= 0:
			err = fmt.Errorf("%s:%d: %s: is not a route's: it is the same for all", s.file, k.line, k.name)
		default:
			err = fmt.Errorf("%s:%d: %s: there is no such key", s.file, k.line, k.name)
		}
		if err != nil {
			return nil, err
		}
	}
	if r.name == "" {
		if r.name = r.host + r.path; r.name == "" {
			r.name = proxy.DefaultRoute
		}
	}
	if setOf(r.list, "policy") != "" && setOf(r.list, "hash-by") == "" && r.Policy != "hash" {
		r.HashBy = "" // of all routes' policy
	}
	return r, r.check(s.file)
}

// check finds what is missing and what has no effect, as options.validate does.
func (r *fileRoute) check(file string) error {
	if len(r.to) == 0 {
		return fmt.Errorf("%s:%d: %s: to is missing", file, r.line, routesKey)
	}
	for _, s := range r.list {
		if why := r.lacks(s.needs); s.isSet() && why != "" {
			return r.located(r.list, about(s.name, fmt.Errorf("flag --%s has no effect: %s", s.name, why)))
		}
	}
	if err := errors.Join(r.checkPolicy(r.list), r.checkPipeline(r.list)); err != nil {
		return r.located(r.list, err)
	}
	return nil
}

func (o *options) checkPolicy(list []*setting) error {
	if (o.Policy == "hash") != (o.HashBy != "") {
		name := setOf(list, "hash-by", "policy")
		if name == "" { // inherited
			name = "policy"
		}
		return about(name, errors.New("flags --policy hash and --hash-by need each other"))
	}
	return nil
}

func (o *options) checkPipeline(list []*setting) error {
	switch {
	case o.Pipeline < 2 && setOf(list, "pipeline-conns") != "":
		return about("pipeline-conns", errors.New("flag --pipeline-conns has no effect without --pipeline"))
	case o.Pipeline > 1 && o.PipelineConns >= o.MaxUpstreamConns:
		name := setOf(list, "pipeline-conns", "max-upstream-conns", "pipeline")
		return about(name, fmt.Errorf("flag --%s: --pipeline-conns is %d; want less than --max-upstream-conns, which is %d", name, o.PipelineConns, o.MaxUpstreamConns))
	}
	return nil
}

// completeRoutes makes what --to says a route too, and finds what is wrong with routes beside each other.
func (o *options) completeRoutes() error {
	if len(o.to) > 0 {
		o.ways = append(o.ways, proxy.Route{Name: proxy.DefaultRoute, To: o.to, Limits: &o.Limits, Balance: &o.Balance})
	}
	several, first := len(o.destinations) > 1 || o.hasNames, len(o.ways)
	for _, r := range o.routes {
		if first > 0 && r.name == proxy.DefaultRoute && r.host+r.path == "" {
			return fmt.Errorf("%s:%d: %s: has neither host nor path, and neither has to", o.config, r.line, routesKey)
		}
		o.ways = append(o.ways, proxy.Route{Name: r.name, Host: r.host, Path: r.path, To: r.to, Limits: &r.Limits, Balance: &r.Balance})
		o.destinations = append(o.destinations, r.destinations...)
		several = several || len(r.destinations) > 1 || r.hasNames
		o.hasNames, o.hasFile = o.hasNames || r.hasNames, o.hasFile || r.hasFile
	}
	if i, err := proxy.CheckRoutes(o.ways); err != nil {
		return fmt.Errorf("%s:%d: %s: %w", o.config, o.routes[i-first].line, routesKey, err)
	}
	o.isOfOne = !several
	return nil
}

// checkName takes what a label of a metric, and a log, can well have.
func checkName(s string) error {
	if len(s) > 64 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '"' || r == '\\' }) {
		return errors.New("want 1 to 64 characters of printable ASCII, without spaces and quotes")
	}
	return nil
}

// checkHost takes the host of a route.
func checkHost(s string) error {
	name := strings.TrimPrefix(s, "*.")
	host, ok := hostOf(name)
	if bare := strings.Trim(strings.ToLower(strings.TrimSuffix(name, ".")), "[]"); !ok || host != bare || strings.Contains(host, ":") && name != s {
		return errors.New("want a name or an address without port, or *.SUFFIX")
	}
	return nil
}

// checkPrefix takes the path of a route.
func checkPrefix(s string) error {
	if strings.ContainsAny(s, "?#") {
		return errors.New("want a path without query")
	}
	return checkPath(s)
}
