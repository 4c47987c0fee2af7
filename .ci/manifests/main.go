// Command manifests checks Kubernetes manifests against the schemas of a Kubernetes version: every field must be
// known, of its type, and there when it is required. It prints the command lines of containers named h2tp.
//
//	go run ./.ci/manifests SCHEMAS FILE...
//
// SCHEMAS is a folder of OpenAPI 3 documents, api/v1.json and apis/GROUP/VERSION.json.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: manifests SCHEMAS FILE...")
		os.Exit(2)
	}
	c := checker{dir: os.Args[1], groups: make(map[string]*group)}
	failed := false
	for _, name := range os.Args[2:] {
		n, err := c.file(name)
		if err == nil && n == 0 {
			err = errors.New("no object")
		}
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %d objects\n", name, n)
	}
	if failed {
		os.Exit(1)
	}
}

type checker struct {
	dir    string
	groups map[string]*group // by apiVersion
}

// group is a version of a group of kinds.
type group struct {
	compiler *jsonschema.Compiler
	kinds    map[string]string // names of schemas
}

func (c *checker) file(name string) (n int, err error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0, err
	}
	d := yaml.NewDecoder(bytes.NewReader(b))
	for {
		var object map[string]any
		if err := d.Decode(&object); errors.Is(err, io.EOF) {
			return n, nil
		} else if err != nil {
			return n, err
		}
		if err := c.object(object); err != nil {
			return n, fmt.Errorf("%v %v: %w", object["kind"], at(object, "metadata", "name"), err)
		}
		printCommands(object)
		n++
	}
}

func (c *checker) object(object map[string]any) error {
	version, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	g, err := c.group(version)
	if err != nil {
		return err
	}
	name := g.kinds[kind]
	if name == "" {
		return fmt.Errorf("no kind %q in %q", kind, version)
	}
	schema, err := g.compiler.Compile("k8s.json#/components/schemas/" + name)
	if err != nil {
		return err
	}
	b, err := json.Marshal(object) // numbers as the validator wants them
	if err != nil {
		return err
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

func (c *checker) group(version string) (*group, error) {
	if g := c.groups[version]; g != nil {
		return g, nil
	}
	path := filepath.Join(c.dir, "apis", version+".json")
	if !strings.Contains(version, "/") {
		path = filepath.Join(c.dir, "api", version+".json")
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	g := &group{compiler: jsonschema.NewCompiler(), kinds: make(map[string]string)}
	schemas := at(doc, "components", "schemas").(map[string]any)
	for name, s := range schemas {
		schema := s.(map[string]any)
		shut(schema)
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		for _, k := range kinds {
			of, _ := at(k, "group").(string)
			if v, _ := at(k, "version").(string); strings.TrimPrefix(of+"/"+v, "/") == version {
				g.kinds[at(k, "kind").(string)] = name
			}
		}
	}
	if err := g.compiler.AddResource("k8s.json", doc); err != nil {
		return nil, err
	}
	c.groups[version] = g
	return g, nil
}

// at follows keys.
func at(v any, keys ...string) any {
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

// shut makes unknown fields of an object an error.
func shut(schema map[string]any) {
	if _, ok := schema["properties"]; ok && schema["additionalProperties"] == nil {
		schema["additionalProperties"] = false
	}
}

// printCommands prints the command line of each container of a pod whose name is h2tp.
func printCommands(v any) {
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			printCommands(e)
		}
	case map[string]any:
		if args, ok := v["args"].([]any); ok && v["name"] == "h2tp" {
			fmt.Println(append([]any{"h2tp"}, args...)...)
		}
		for _, e := range v {
			printCommands(e)
		}
	}
}
