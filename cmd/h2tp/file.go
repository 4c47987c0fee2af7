package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// configSetting names the file itself.
const configSetting = "config"

const (
	// maxFile is more than thousands of routes take.
	maxFile = 1 << 20
	// maxNesting is how deep lists and mappings may stand in each other, which takes the parser memory by its square.
	maxNesting = 64
)

// readFile takes what a file says of the settings that neither a flag nor a variable has set. Its errors
// are FILE:LINE: KEY: what is wrong.
func (o *options) readFile(list []*setting, name string, isReload bool) error {
	b, err := readConfig(name, isReload)
	if err != nil {
		return err
	}
	s, err := parseFile(name, b)
	if err != nil {
		return err
	}
	return o.apply(s, list)
}

// readConfig reads a file; at a start it may be a pipe, which is waited for, as of <(...).
func readConfig(name string, isReload bool) ([]byte, error) {
	flag := os.O_RDONLY
	if isReload {
		flag |= syscall.O_NONBLOCK // nobody may write to a pipe
	}
	f, err := os.OpenFile(name, flag, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if isReload && !fi.Mode().IsRegular() {
		return nil, fmt.Errorf("%s:1: it is no regular file, which alone can be read again", name)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s:1: more than %s", name, formatSize(maxFile))
	}
	return b, err
}

// section is a mapping of a file.
type section struct {
	file string
	keys []key
}

// key is one key of a section and its value.
type key struct {
	name  string
	line  int
	value ast.Node
}

// parseFile reads the only document of a file.
func parseFile(name string, b []byte) (s section, err error) {
	s.file = name
	defer func() { // what was written half must not end what runs
		if r := recover(); r != nil {
			err = fmt.Errorf("%s:1: this is no YAML that can be read: %v", name, r)
		}
	}()
	tokens := lexer.Tokenize(string(bytes.TrimPrefix(b, []byte("\ufeff")))) // a byte order mark is none of the first key
	if line, err := checkTokens(tokens); err != nil {
		return s, fmt.Errorf("%s:%d: %w", name, line, err)
	}
	f, err := parser.Parse(tokens, 0)
	if ye, ok := errors.AsType[yaml.Error](err); ok {
		return s, fmt.Errorf("%s:%d: %s", name, lineOf(ye), ye.GetMessage())
	}
	if err != nil {
		return s, fmt.Errorf("%s:1: %w", name, err)
	}
	var body ast.Node
	for _, doc := range f.Docs {
		switch {
		case doc.Body == nil:
		case body != nil:
			return s, fmt.Errorf("%s:%d: a second document", name, doc.Body.GetToken().Position.Line)
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return s, fmt.Errorf("%s:1: nothing in it", name)
	}
	return readSection(name, body)
}

// checkTokens finds, before the parser does, what is not taken of YAML.
func checkTokens(tokens token.Tokens) (line int, err error) {
	depth, run, column := 0, 0, 0 // run is of "- - -", each of which is a list
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			depth++
		case token.SequenceEndType, token.MappingEndType:
			depth--
		case token.SequenceEntryType, token.MappingKeyType:
			if t.Position.Column <= column {
				run = 0
			}
			run++
		case token.AnchorType, token.AliasType, token.TagType, token.MergeKeyType:
			return t.Position.Line, fmt.Errorf("%s: anchors, aliases, merge keys and tags are not taken; what begins so needs quotes", t.Value)
		default:
			run = 0
		}
		if column = t.Position.Column; depth+run > maxNesting {
			return t.Position.Line, fmt.Errorf("more than %d lists and mappings in each other", maxNesting)
		}
	}
	return 0, nil
}

func lineOf(err yaml.Error) int {
	if t := err.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

func readSection(file string, n ast.Node) (section, error) {
	s := section{file: file}
	m, ok := n.(ast.MapNode)
	if !ok {
		return s, fmt.Errorf("%s:%d: want \"key: value\" lines", file, n.GetToken().Position.Line)
	}
	seen := make(map[string]int)
	for it := m.MapRange(); it.Next(); {
		at := it.Key().GetToken().Position.Line
		k, ok := it.Key().(*ast.StringNode)
		if !ok {
			return s, fmt.Errorf("%s:%d: %s: want a plain key", file, at, it.Key().GetToken().Value)
		}
		if first, isTwice := seen[k.Value]; isTwice {
			return s, fmt.Errorf("%s:%d: %s: is in line %d already", file, at, k.Value, first)
		}
		seen[k.Value] = at
		s.keys = append(s.keys, key{k.Value, at, it.Value()})
	}
	return s, nil
}

// apply sets the settings of list that are not set yet, and reads the routes.
func (o *options) apply(s section, list []*setting) error {
	var routes []key
	for _, k := range s.keys {
		if k.name == routesKey {
			routes = append(routes, k)
		} else if err := k.apply(s.file, list); err != nil {
			return err
		}
	}
	for _, k := range routes {
		if err := o.readRoutes(s.file, k); err != nil {
			return err
		}
	}
	return nil
}

func (k key) apply(file string, list []*setting) error {
	for _, s := range list {
		if s.name != k.name || k.name == configSetting {
			continue
		}
		if s.isSet() {
			return nil
		}
		return k.set(file, s)
	}
	return fmt.Errorf("%s:%d: %s: there is no such key", file, k.line, k.name)
}

// set sets a setting to the value, or to the values of a list.
func (k key) set(file string, s *setting) error {
	values, lines, err := k.strings(s.isList())
	if err != nil {
		return fmt.Errorf("%s:%d: %s: %w", file, k.line, k.name, err)
	}
	for i, v := range values {
		if err := s.setFrom(origin{fromFile, file, k.line}, v); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", file, lines[i], k.name, err)
		}
	}
	return nil
}

// strings are a value as it is written, or those of a list, and their lines.
func (k key) strings(mayBeMany bool) (values []string, lines []int, err error) {
	nodes := []ast.Node{k.value}
	if list, ok := k.value.(*ast.SequenceNode); ok && mayBeMany {
		if nodes = list.Values; len(nodes) == 0 {
			return nil, nil, errors.New("empty")
		}
	}
	for _, n := range nodes {
		v, ok := scalar(n)
		_, isMap := n.(ast.MapNode)
		switch {
		case !ok && mayBeMany && isMap: // http://a:1 in [] in {}, for one
			return nil, nil, errors.New("want a value or a list of values; what has a colon may need quotes")
		case !ok && mayBeMany:
			return nil, nil, errors.New("want a value or a list of values")
		case !ok:
			return nil, nil, errors.New("want one value")
		case strings.TrimSpace(v) == "":
			return nil, nil, errors.New("empty")
		}
		line := k.line
		if len(nodes) > 1 {
			line = n.GetToken().Position.Line
		}
		values, lines = append(values, v), append(lines, line)
	}
	return values, lines, nil
}

// scalar is a value as it is written: off, 0660 and 1e3 mean what they do as flags.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return strings.TrimSpace(n.Value.Value), true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}
