package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/h2tp/h2tp/proxy"
)

// schema is a JSON schema: deploy/h2tp.schema.json tells editors what a file may have. A test keeps it true.
type schema map[string]any

// withOff is of what may be off as well.
func withOff(s schema, mayOff bool) schema {
	if !mayOff {
		return s
	}
	return schema{"anyOf": []schema{s, {"const": off}}}
}

// manyOf is of one value, or of a list of them.
func manyOf(s schema) schema {
	return schema{"anyOf": []schema{s, {"type": "array", "minItems": 1, "items": s}}}
}

// fileSchema is that of a configuration file.
func fileSchema() []byte {
	properties := make(schema)
	route := schema{
		"name": schema{"type": "string", "maxLength": 64, "description": "what metrics, the access log and /status call the route; without it host and path, or " + proxy.DefaultRoute},
		"host": schema{"type": "string", "description": "a name or address without port, or *.SUFFIX for every name below it; without it any"},
		"path": schema{"type": "string", "pattern": "^/", "description": "a prefix of the path, of whole segments, as it comes; without it any"},
	}
	for _, s := range new(options).settings() {
		if s.name != configSetting {
			properties[s.name] = s.describe()
		}
		if s.name == "to" || slices.Contains(routeSettings, s.name) {
			route[s.name] = schema{"$ref": "#/properties/" + s.name}
		}
	}
	properties[routesKey] = schema{
		"type": "array", "minItems": 1, "description": "where requests for some hosts and paths go: of those that match one, that with the very host, " +
			"then that with the longest suffix of it, then that for any, and of these that with the longest path",
		"items": schema{"type": "object", "additionalProperties": false, "required": []string{"to"}, "properties": route},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "h2tp's configuration file",
		"type": "object", "additionalProperties": false, "properties": properties,
	}); err != nil {
		panic("h2tp: bug: " + err.Error())
	}
	return b.Bytes()
}

func (s *setting) describe() schema {
	d := make(schema)
	maps.Copy(d, s.schema)
	d["description"] = s.usage
	if s.def != "" {
		d["default"] = s.def
	}
	return d
}
