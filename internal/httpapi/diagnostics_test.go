package httpapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/diagnosis"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// TestDiagnosticsAreRunKeptAndListed looks at the portal and at an agent, and
// finds again what was found.
func TestDiagnosticsAreRunKeptAndListed(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	portal := decode[diagnosis.Diagnosis](t, w.do("POST", "/api/platform/diagnostics", map[string]any{}, w.as(auth.Operator)...))
	if portal.Scope != diagnosis.Portal || portal.Status != diagnosis.OK || len(portal.Findings) != 2 || portal.Findings[0].Check != "store_latency" || len(portal.Findings[0].Evidence) == 0 {
		t.Fatalf("portal: %+v", portal)
	}
	one := decode[diagnosis.Diagnosis](t, w.do("POST", "/api/platform/diagnostics", map[string]any{"agent": "ONE"}, w.as(auth.Operator)...))
	if one.Scope != diagnosis.Agent || one.AgentID != "one" || one.By == "" {
		t.Fatalf("agent: %+v", one)
	}
	if r := w.do("POST", "/api/platform/diagnostics", map[string]any{}, w.as(auth.Viewer)...); r.Status != http.StatusForbidden {
		t.Errorf("a viewer ran checks: %d", r.Status)
	}
	list := decode[door.List[diagnosis.Diagnosis]](t, w.do("GET", "/api/platform/diagnostics?agent=One", nil, w.as(auth.Viewer)...))
	if len(list.Items) != 1 || list.Items[0].ID != one.ID || len(list.Filtered) != 1 || list.Filtered[0] != "one" {
		t.Errorf("of the agent: %+v", list)
	}
	if got := decode[diagnosis.Diagnosis](t, w.do("GET", "/api/platform/diagnostics/"+portal.ID, nil, w.as(auth.Viewer)...)); got.Findings[0].Check != "store_latency" {
		t.Errorf("got %+v", got)
	}
	for path, status := range map[string]int{"/diagnostics/none": 404, "/diagnostics?limit=1000": 400, "/diagnostics?scope=x": 400, "/diagnostics/bundle": 403} {
		if r := w.do("GET", "/api/platform"+path, nil, w.as(auth.Viewer)...); r.Status != status {
			t.Errorf("%s: %d %s", path, r.Status, r.Body)
		}
	}
	if r := w.do("POST", "/api/platform/diagnostics", map[string]any{"agent": "nobody"}, w.as(auth.Operator)...); r.Status != http.StatusNotFound {
		t.Errorf("an unknown agent: %d", r.Status)
	}
	r := w.do("GET", "/api/platform/diagnostics/bundle", nil, w.as(auth.Admin)...)
	if r.Status != 200 || !strings.HasPrefix(r.Body, "\x1f\x8b") || r.Header.Get("Content-Type") != "application/gzip" || !strings.Contains(r.Header.Get("Content-Disposition"), ".tar.gz") {
		t.Errorf("bundle: %d %v", r.Status, r.Header)
	}
}
