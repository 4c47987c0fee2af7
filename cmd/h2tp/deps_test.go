package main

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/h2tp/h2tp"

// goPackage is what go list says of a package of ours.
type goPackage struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func listPackages(t *testing.T) map[string]goPackage {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Imports,Deps", module+"/...").Output()
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]goPackage)
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		if p.ImportPath == module || strings.HasPrefix(p.ImportPath, module+"/") {
			list[strings.TrimPrefix(p.ImportPath, module+"/")] = p
		}
	}
}

func TestArrowsBetweenPackagesPointDown(t *testing.T) {
	// What each package may depend on, of ours. A package that is not here is a new one: say here
	// what it may use.
	may := map[string][]string{
		"compress":            nil,
		"certs":               nil,
		"pool":                nil,
		"proxy/internal/wire": nil,
		"proxy/internal/...":  {"proxy/internal/wire"},
		"proxy":               {"compress", "pool", "proxy/internal/..."},
		"bench":               {"compress", "certs", "pool", "proxy", "proxy/internal/..."},
		"bench/...":           {"compress", "certs", "pool", "proxy", "proxy/internal/..."},
		"cmd/h2tp":            {"compress", "certs", "pool", "proxy", "proxy/internal/...", "cmd/h2tp/internal/..."},
		"cmd/h2tp/...":        {"compress", "certs", "pool", "proxy", "proxy/internal/...", "cmd/h2tp/internal/..."},
	}
	packages := listPackages(t)
	if len(packages) < 5 {
		t.Fatalf("go list named %d packages of ours", len(packages))
	}
	for name, p := range packages {
		allowed, ok := may[name]
		for pattern, list := range may {
			if !ok && matches(pattern, name) {
				allowed, ok = list, true
			}
		}
		if !ok {
			t.Errorf("package %s has no line in this test", name)
		}
		for _, dep := range p.Deps {
			dep, isOurs := strings.CutPrefix(dep, module+"/")
			if isOurs && !slices.ContainsFunc(allowed, func(pattern string) bool { return matches(pattern, dep) }) {
				t.Errorf("%s depends on %s: arrows point down only, and pool, compress, certs and wire know nothing of each other", name, dep)
			}
		}
		if slices.Contains(p.Imports, "github.com/valyala/fasthttp") && name != "proxy" && !strings.HasPrefix(name, "bench") && !strings.HasPrefix(name, "cmd/") {
			t.Errorf("%s imports fasthttp: of the product's packages only proxy does", name)
		}
		if slices.ContainsFunc(p.Imports, func(s string) bool { return strings.HasPrefix(s, module+"/bench") }) {
			t.Errorf("%s imports bench: nobody does", name)
		}
		isCommand := strings.HasPrefix(name, "cmd/") || strings.HasPrefix(name, "bench/")
		for _, forbidden := range []string{"flag", "os/signal"} {
			if slices.Contains(p.Imports, forbidden) && !isCommand {
				t.Errorf("%s imports %s: only commands read flags and signals", name, forbidden)
			}
		}
	}
}

func matches(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "..."); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == name
}

// Only cmd reads the environment and the command line, and writes to the standard outputs.
func TestOnlyCmdKnowsTheProcess(t *testing.T) {
	forbidden := []string{"Getenv", "LookupEnv", "Environ", "Args", "Stdin", "Stdout", "Stderr", "Exit"}
	for _, root := range []string{"proxy", "pool", "compress", "certs"} {
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && x.Name == "os" && slices.Contains(forbidden, sel.Sel.Name) {
					t.Errorf("%s uses os.%s: only cmd knows the process", path, sel.Sel.Name)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
}
