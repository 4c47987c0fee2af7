package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../deploy/h2tp.schema.json"

func TestSchemaIsThatOfTheSettings(t *testing.T) {
	want := fileSchema()
	if os.Getenv("UPDATE_SCHEMA") != "" {
		if err := os.WriteFile(schemaFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(schemaFile); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is another (%v): UPDATE_SCHEMA=1 go test ./cmd/h2tp -run Schema writes it", schemaFile, err)
	}
}

// validate judges a file by the schema, as an editor does.
func validateFile(t *testing.T, text []byte) error {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(fileSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("h2tp.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("h2tp.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(text, &v); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	instance, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(instance)
}

func TestSchemaTakesWhatFilesMayHave(t *testing.T) {
	for _, s := range new(options).settings() {
		if s.name == configSetting {
			continue
		}
		text := s.name + ": " + sample(s) + "\n"
		if err := validateFile(t, []byte(text)); err != nil {
			t.Errorf("%s%v", text, err)
		}
		if s.set(off) == nil && s.arg != "URL" && s.arg != "FILE" {
			if err := validateFile(t, []byte(s.name+": off\n")); err != nil {
				t.Errorf("%s: off: %v", s.name, err)
			}
		}
	}
	routes := "routes:\n  - {host: a, path: /b, name: c, to: 'http://a:1', timeout: 1s}\n  - {to: ['http://a:1', 'http://b:1'], policy: latency}\n"
	if err := validateFile(t, []byte(routes)); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"routes: []\n", "routes: [{path: /a}]\n", "routes: [{path: a, to: b}]\n", "routes: [{to: b, max-body: 1KiB}]\n", "max-boddy: 1KiB\n", "max-body: 1MB\n", "conns: 65\n", "timeout: 10\n", "compress: lz4\n", "get-only: 1\n", "deny: []\n", "listen: {a: b}\n"} {
		if validateFile(t, []byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
}
