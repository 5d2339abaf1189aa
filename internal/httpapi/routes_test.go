package httpapi_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi"
	"github.com/waooaw/platform-portal/internal/httpapi/door"
)

// pathOf fills the pattern's parameters with ids that nothing has.
func pathOf(r door.Route) string {
	p := strings.TrimSuffix(r.Path, "{$}")
	for _, name := range []string{"{id}", "{agent}", "{code}", "{name}", "{where}"} {
		p = strings.ReplaceAll(p, name, "nobody")
	}
	return p
}

func TestEveryRoleGetsExactlyWhatTheTableSays(t *testing.T) {
	w := newWorld(t)
	for _, route := range httpapi.Routes {
		for _, role := range []auth.Role{auth.Nobody, auth.Viewer, auth.Operator, auth.Admin} {
			t.Run(fmt.Sprintf("%s %s as %q", route.Method, route.Path, role), func(t *testing.T) {
				path := pathOf(route)
				if route.Stream && strings.Contains(path, "/live") {
					path += "?rooms=nonsense" // answers at once
				}
				if strings.HasSuffix(path, "/logs/tail") {
					path += "?cursor=nonsense"
				}
				r := w.do(route.Method, path, nil, w.as(role)...)
				refused := r.Status == http.StatusUnauthorized || r.Status == http.StatusForbidden
				allowed := route.Public || route.Role.Valid() && role.Includes(route.Role)
				if refused == allowed {
					t.Errorf("status %d: %s", r.Status, r.Body)
				}
				if !allowed && role == auth.Nobody && !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Bearer") {
					t.Errorf("WWW-Authenticate: %q", r.Header.Get("WWW-Authenticate"))
				}
				if r.Status >= 400 && (!strings.Contains(path, "/prometheus/") || !allowed) {
					r.code(t)
				}
				if r.Status >= 500 {
					t.Errorf("status %d: %s", r.Status, r.Body)
				}
			})
		}
	}
}

// ofOneself are changes that everybody may make, because they concern nobody
// else: that the services hold them to it is tested where they are.
var ofOneself = map[string]bool{"logout": true, "logout-all": true, "end-session": true, "create-token": true, "revoke-token": true}

func TestTableOfRoutes(t *testing.T) {
	ids, patterns := map[string]bool{}, map[string]bool{}
	for _, r := range httpapi.Routes {
		if ids[r.ID] || patterns[r.Pattern()] {
			t.Errorf("%s %s is there twice", r.ID, r.Pattern())
		}
		ids[r.ID], patterns[r.Pattern()] = true, true
		if !r.Public && !r.Role.Valid() {
			t.Errorf("%s is open to nobody", r.Pattern())
		}
		if r.Mutation() && !r.Public && r.Role == auth.Viewer && !ofOneself[r.ID] {
			t.Errorf("viewers may change something by %s", r.Pattern())
		}
	}
	for _, a := range agent.Actions() {
		if !ids[string(a)+"-agent"] {
			t.Errorf("there is no route for %s", a)
		}
	}
	// What is in the table is registered, and nothing else is: registering
	// anything else ends the program.
	if got := httpapi.Registered(); len(got) != len(httpapi.Routes) {
		for _, r := range httpapi.Routes {
			if !slices.Contains(got, r.Pattern()) {
				t.Errorf("%s is not registered", r.Pattern())
			}
		}
		t.Errorf("%d routes are registered, and the table has %d", len(got), len(httpapi.Routes))
	}
}

func TestARouteThatIsNotInTheTableEndsTheProgram(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("it was registered")
		}
	}()
	httpapi.RegisterForTest("secret")
}

func TestUnknownAddressesAndMethods(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/nowhere", api, api + "/", api + "/agents/a/b/c", "/docs/", "/.git/config"} {
		if code := w.do("GET", path, nil).want(t, 404).code(t); code != "request.no_route" {
			t.Errorf("%s: %s", path, code)
		}
	}
	r := w.do("PUT", api+"/agents", nil).want(t, http.StatusMethodNotAllowed)
	r.code(t)
	if allow := r.Header.Get("Allow"); !strings.Contains(allow, "POST") || !strings.Contains(allow, "GET") {
		t.Errorf("Allow: %q", allow)
	}
	w.do("OPTIONS", api+"/agents", nil).want(t, http.StatusMethodNotAllowed)
	if r := w.do("HEAD", api+"/agents", nil).want(t, 200); r.Body != "" {
		t.Errorf("HEAD has a body: %s", r.Body)
	}
	w.do("HEAD", api+"/live/sse?rooms=agents", nil).want(t, http.StatusMethodNotAllowed)
	// Paths are not cleaned into something else that would be served.
	for _, path := range []string{api + "/agents/..%2f..%2fetc%2fpasswd", api + "/agents/%2e%2e", api + "/agents/a%00b", api + "/agents/" + strings.Repeat("x", 5000)} {
		if r := w.do("GET", path, nil); r.Status != 404 && r.Status != 400 && r.Status != 301 && r.Status != 307 {
			t.Errorf("%.60s: status %d", path, r.Status)
		}
	}
}
