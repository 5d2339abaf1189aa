package httpapi_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/httpapi"
)

func TestAgentLife(t *testing.T) {
	w := newWorld(t)
	r := w.create("WowMemory", "labels", map[string]string{"env": "prod"}, "tier", 4, "env", map[string]string{"A": "1"}, "dependencies", []string{"WowEvent"},
		"probes", map[string]any{"liveness": map[string]any{"http": map[string]any{"path": "/health", "port": "$(PORT)"}, "interval": "5s"}})
	a := r.JSON(t)
	if a["id"] != "wow-memory" || a["state"] != "DRAFT" || a["resource_version"] != 1.0 || a["revision"] != 1.0 {
		t.Errorf("created: %s", r.Body)
	}
	if r.Header.Get("Location") != api+"/agents/wow-memory" || !strings.HasPrefix(r.Header.Get("ETag"), `"1-`) {
		t.Errorf("headers: %v", r.Header)
	}
	if !strings.Contains(r.Body, "WowEvent") || a["warnings"] == nil {
		t.Errorf("no warning of the missing dependency: %s", r.Body)
	}
	for _, action := range []string{"provision", "deploy"} {
		w.act("wow-memory", action)
	}
	got := w.do("GET", api+"/agents/WOWMEMORY", nil).want(t, 200).JSON(t)
	if got["state"] != "DEPLOYED" || got["allowed_actions"] == nil || got["instances"] == nil || got["name"] != "WowMemory" {
		t.Errorf("deployed: %v", got)
	}
	w.act("wow-memory", "revoke")
	w.do("DELETE", api+"/agents/wow-memory", nil).want(t, http.StatusNoContent)
	if code := w.do("GET", api+"/agents/wow-memory", nil).want(t, 404).code(t); code == "" {
		t.Error("no code")
	}
}

func TestAgentIsRefusedWithEveryMistake(t *testing.T) {
	w := newWorld(t)
	r := w.do("POST", api+"/agents", map[string]any{"name": "x", "command": "/bin/true", "tier": 9, "replicas": "two", "nonsense": 1,
		"probes": map[string]any{"liveness": map[string]any{"http": map[string]any{"port": true}}}}).want(t, 400)
	r.code(t)
	paths := errorPaths(t, r)
	for _, want := range []string{"tier", "replicas", "nonsense", "probes.liveness.http.port"} {
		if !slices.Contains(paths, want) {
			t.Errorf("%s is not listed among %v", want, paths)
		}
	}
	for name, body := range map[string]string{
		"not JSON":      `{"name":`,
		"empty":         ``,
		"list of two":   `[{"name":"a","command":"x"},{"name":"b","command":"x"}]`,
		"key twice":     `{"name":"a","name":"b","command":"x"}`,
		"a number":      `17`,
		"path in name":  `{"name":"../../etc/passwd","command":"/bin/true","volumes":[{"name":"v","path":"../../x"}]}`,
		"state is ours": `{"name":"a","command":"/bin/true","state":"RUNNING"}`,
	} {
		t.Run(name, func(t *testing.T) {
			w.do("POST", api+"/agents", body).want(t, 400).code(t)
		})
	}
	if n := w.do("GET", api+"/agents", nil).JSON(t)["total"]; n != 0.0 {
		t.Errorf("%v agents were made", n)
	}
}

func TestAgentInYAML(t *testing.T) {
	w := newWorld(t)
	w.do("POST", api+"/agents", "name: From YAML\ncommand: /bin/sleep\nargs: ['1']\n", "Content-Type", "application/yaml").want(t, 201)
}

func TestTwoOfTheSameName(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	w.do("POST", api+"/agents", map[string]any{"name": "ONE", "command": "/bin/true"}).want(t, 409).code(t)
}

func TestPatchAndTags(t *testing.T) {
	w := newWorld(t)
	w.create("One", "env", map[string]string{"A": "1", "B": "2"})
	get := w.do("GET", api+"/agents/one", nil).want(t, 200)
	tag := get.Header.Get("ETag")
	w.do("GET", api+"/agents/one", nil, "If-None-Match", tag).want(t, http.StatusNotModified)
	w.do("GET", api+"/agents/one", nil, "If-None-Match", `"0", W/`+tag).want(t, http.StatusNotModified)

	r := w.do("PATCH", api+"/agents/one", `{"env":{"A":null,"C":"3"},"description":"new"}`, "If-Match", tag, "Content-Type", "application/merge-patch+json").want(t, 200)
	if env := r.JSON(t)["env"].(map[string]any); env["A"] != nil || env["B"] != "2" || env["C"] != "3" {
		t.Errorf("env: %v", env)
	}
	if r.JSON(t)["revision"] != 2.0 || r.Header.Get("ETag") == tag {
		t.Errorf("patched: %s", r.Body)
	}
	w.do("PATCH", api+"/agents/one", `{"description":"late"}`, "If-Match", tag).want(t, http.StatusPreconditionFailed).code(t)
	w.do("PATCH", api+"/agents/one", `{"description":"late"}`, "If-Match", `"rubbish"`).want(t, http.StatusPreconditionFailed).code(t)
	w.do("PATCH", api+"/agents/one", `{"description":"plain version"}`, "If-Match", `"2"`).want(t, 200)
	w.do("DELETE", api+"/agents/one", nil, "If-Match", tag).want(t, http.StatusPreconditionFailed)
	w.do("POST", api+"/agents/one/provision", nil, "If-Match", tag).want(t, http.StatusPreconditionFailed)
	w.do("PATCH", api+"/agents/one", `{"tier":"x"}`).want(t, 400)
	w.do("PATCH", api+"/agents/none", `{"tier":1}`).want(t, 404)

	versions := w.do("GET", api+"/agents/one/versions?limit=2", nil).want(t, 200).JSON(t)
	if items := versions["items"].([]any); len(items) != 2 || items[0].(map[string]any)["number"] != 3.0 {
		t.Errorf("versions: %v", versions)
	}
	rest := w.do("GET", api+"/agents/one/versions?limit=2&cursor="+versions["next_cursor"].(string), nil).want(t, 200).JSON(t)
	if items := rest["items"].([]any); len(items) != 1 || rest["next_cursor"] != nil {
		t.Errorf("the rest: %v", rest)
	}
	w.do("GET", api+"/agents/one/versions?cursor=x", nil).want(t, 400)
}

func TestHealthChangesTheTag(t *testing.T) {
	w := newWorld(t)
	w.create("One")
	tag := w.do("GET", api+"/agents/one", nil).Header.Get("ETag")
	if err := w.store.Agents().SaveHealth(t.Context(), "one", "degraded", "a probe failed", w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	r := w.do("GET", api+"/agents/one", nil, "If-None-Match", tag).want(t, 200)
	if r.JSON(t)["health"] != "degraded" {
		t.Errorf("health: %s", r.Body)
	}
	// Nobody changed the agent, so a change based on the earlier look is right.
	w.do("PATCH", api+"/agents/one", `{"tier":2}`, "If-Match", tag).want(t, 200)
}

func TestListAgents(t *testing.T) {
	w := newWorld(t)
	w.create("Alpha", "tier", 1, "labels", map[string]string{"env": "prod"}, "domain", "guardian")
	w.create("Beta", "tier", 2, "labels", map[string]string{"env": "test"}, "description", "finds things")
	w.create("Gamma", "tier", 2, "labels", map[string]string{"env": "prod", "team": "x"})
	w.act("beta", "provision")
	for query, want := range map[string]string{
		"":                                   "alpha beta gamma",
		"?sort=-name":                        "gamma beta alpha",
		"?tier=2":                            "beta gamma",
		"?tier=1&tier=2":                     "alpha beta gamma",
		"?tier=1,2":                          "alpha beta gamma",
		"?state=PROVISIONED":                 "beta",
		"?state=draft":                       "alpha gamma",
		"?domain=guardian":                   "alpha",
		"?selector=env%3Dprod":               "alpha gamma",
		"?selector=env+in+(prod),!team":      "alpha",
		"?q=FINDS":                           "beta",
		"?id=ALPHA&id=beta":                  "alpha beta",
		"?health=unknown&runtime=process":    "alpha beta gamma",
		"?tier=2&selector=env%3Dprod&limit=": "gamma",
	} {
		t.Run(query, func(t *testing.T) {
			var got []string
			for _, it := range w.do("GET", api+"/agents"+query, nil).want(t, 200).JSON(t)["items"].([]any) {
				got = append(got, it.(map[string]any)["id"].(string))
			}
			if s := strings.Join(got, " "); s != want {
				t.Errorf("got %q, want %q", s, want)
			}
		})
	}
	for _, query := range []string{"?state=UP", "?tier=x", "?tier=9", "?health=fine", "?runtime=docekr", "?selector=%3D%3D", "?sort=colour", "?limit=0", "?limit=2000", "?limit=x", "?cursor=forged", "?stat=RUNNING"} {
		t.Run(query, func(t *testing.T) {
			r := w.do("GET", api+"/agents"+query, nil).want(t, 400)
			r.code(t)
			if query != "?cursor=forged" && len(errorPaths(t, r)) == 0 {
				t.Errorf("it is not said what is wrong: %s", r.Body)
			}
		})
	}
	first := w.do("GET", api+"/agents?limit=2", nil).want(t, 200).JSON(t)
	if first["total"] != 3.0 || len(first["items"].([]any)) != 2 {
		t.Fatalf("first page: %v", first)
	}
	second := w.do("GET", api+"/agents?limit=2&cursor="+first["next_cursor"].(string), nil).want(t, 200).JSON(t)
	if items := second["items"].([]any); len(items) != 1 || items[0].(map[string]any)["id"] != "gamma" || second["next_cursor"] != nil {
		t.Errorf("second page: %v", second)
	}
}

func TestImport(t *testing.T) {
	w := newWorld(t)
	doc := "name: A\ncommand: /bin/true\ncolour: red\n---\nname: B\ncommand: /bin/true\ndependencies: [A, C]\n"
	dry := w.do("POST", api+"/agents/import?dry_run=true", doc, "Content-Type", "application/yaml").want(t, 200)
	if items := dry.JSON(t)["items"].([]any); len(items) != 2 {
		t.Errorf("dry run: %s", dry.Body)
	}
	if n := w.do("GET", api+"/agents", nil).JSON(t)["total"]; n != 0.0 {
		t.Fatalf("the dry run made %v agents", n)
	}
	w.do("POST", api+"/agents/import?unknown=refuse", doc).want(t, 400)
	r := w.do("POST", api+"/agents/import", doc).want(t, 200)
	if !strings.Contains(r.Body, "C") || !strings.Contains(r.Body, "created") {
		t.Errorf("import: %s", r.Body)
	}
	again := w.do("POST", api+"/agents/import?mode=apply&unknown=keep", doc).want(t, 200)
	if strings.Count(again.Body, `"unchanged"`) != 2 {
		t.Errorf("applied again: %s", again.Body)
	}
	changed := w.do("POST", api+"/agents/import?mode=apply", `{"agents":[{"name":"B","command":"/bin/false"}]}`).want(t, 200)
	if !strings.Contains(changed.Body, `"updated"`) || !strings.Contains(changed.Body, `"command"`) {
		t.Errorf("applied a change: %s", changed.Body)
	}
	w.do("POST", api+"/agents/import", doc).want(t, 409)
	// All or nothing.
	w.do("POST", api+"/agents/import", "name: New\ncommand: /bin/true\n---\nname: Bad\ntier: 77\n").want(t, 400)
	w.do("GET", api+"/agents/new", nil).want(t, 404)
	w.do("POST", api+"/agents/import", "name: X\ncommand: /bin/true\ndependencies: [Y]\n---\nname: Y\ncommand: /bin/true\ndependencies: [X]\n").want(t, 400)
}

func FuzzImport(f *testing.F) {
	f.Add([]byte("name: A\ncommand: /bin/true\n---\nname: B\n"))
	f.Add([]byte(`{"agents":[{"name":"a","probes":{"liveness":{"http":{"port":"$(PORT)"}}}}]}`))
	f.Add([]byte("a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"))
	f.Add([]byte{0xff, 0xfe, 0, '{'})
	w := newWorld(f)
	w.cfg.Registry = prometheus.NewRegistry()
	handler := httpapi.New(w.cfg)
	f.Fuzz(func(t *testing.T, body []byte) {
		req := httptest.NewRequest(http.MethodPost, "http://localhost"+api+"/agents/import?dry_run=true&mode=apply", bytes.NewReader(body))
		req.Header.Set("Authorization", "Bearer "+w.secrets[auth.Admin])
		rec := httptest.NewRecorder()
		handler.ServeHTTP(rec, req)
		r := reply{Status: rec.Code, Header: rec.Header(), Body: rec.Body.String()}
		switch {
		case r.Status == 200:
			if r.JSON(t)["items"] == nil {
				t.Errorf("no items: %s", r.Body)
			}
		case r.Status >= 400 && r.Status < 500:
			r.code(t)
		default:
			t.Errorf("status %d: %s", r.Status, r.Body)
		}
	})
}

func TestANamespaceIsTakenOverByAdministrators(t *testing.T) {
	w := newWorld(t)
	const path = "/api/platform/agents/import/kubernetes"
	type answer struct {
		Notes  []httpapi.AdoptNote
		Result agent.ImportResult
	}
	plan := decode[answer](t, w.do("POST", path, map[string]any{"namespace": "shop", "dry_run": true}, w.as(auth.Admin)...))
	if len(plan.Notes) != 1 || !plan.Notes[0].Lost || len(plan.Result.Items) != 1 || plan.Result.Items[0].Change != "created" {
		t.Errorf("plan %+v", plan)
	}
	if r := w.do("GET", "/api/platform/agents/shop", nil, w.as(auth.Viewer)...); r.Status != http.StatusNotFound {
		t.Errorf("after a plan: %d", r.Status)
	}
	decode[answer](t, w.do("POST", path, map[string]any{"namespace": "shop"}, w.as(auth.Admin)...))
	if a := decode[struct{ State agent.State }](t, w.do("GET", "/api/platform/agents/shop", nil, w.as(auth.Viewer)...)); a.State != agent.Draft {
		t.Errorf("after the import: %+v", a)
	}
	if r := w.do("POST", path, map[string]any{"namespace": "shop"}, w.as(auth.Operator)...); r.Status != http.StatusForbidden {
		t.Errorf("an operator: %d", r.Status)
	}
	for _, namespace := range []string{"", "../x", "Shop", strings.Repeat("a", 64)} {
		if r := w.do("POST", path, map[string]any{"namespace": namespace}, w.as(auth.Admin)...); r.Status != http.StatusBadRequest && r.Status != http.StatusUnprocessableEntity {
			t.Errorf("namespace %q: %d", namespace, r.Status)
		}
	}
}
