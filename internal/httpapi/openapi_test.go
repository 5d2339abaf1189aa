package httpapi_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/httpapi"
)

func TestOpenAPI(t *testing.T) {
	b, err := httpapi.OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string
			Security    []map[string][]string
			Responses   map[string]any
		}
		Components struct {
			Schemas map[string]struct {
				Properties map[string]map[string]any
				Required   []string
				OneOf      []any
			}
		}
	}
	if err := json.Unmarshal(b, &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("version %q, %v", doc.OpenAPI, err)
	}
	for _, r := range httpapi.Routes {
		if r.Page || r.ID == "openapi" {
			continue // not part of the API
		}
		op, ok := doc.Paths[r.Path][strings.ToLower(r.Method)]
		if !ok || op.OperationID != r.ID {
			t.Errorf("%s is not described", r.Pattern())
			continue
		}
		if (len(op.Security) == 0) != r.Public {
			t.Errorf("%s: security %v", r.Pattern(), op.Security)
		}
		if _, both := op.Responses["200"]; r.Waits && !both {
			t.Errorf("%s does not say what comes after waiting", r.Pattern())
		}
	}
	agent := doc.Components.Schemas["AgentView"]
	for _, field := range []string{"id", "name", "state", "health", "version", "revision", "instances", "updated_at", "probes", "resource_version"} {
		if agent.Properties[field] == nil {
			t.Errorf("an agent has no %s", field)
		}
	}
	if port := doc.Components.Schemas["AgentHTTPProbe"].Properties["port"]; port["oneOf"] == nil {
		t.Errorf("the port of a probe is %v", port)
	}
	if spec := doc.Components.Schemas["AgentSpec"]; !slices.Equal(spec.Required, []string{"name"}) {
		t.Errorf("a spec needs %v", spec.Required)
	}
	if _, err := httpapi.OpenAPI30(); err != nil {
		t.Error(err)
	}
}
