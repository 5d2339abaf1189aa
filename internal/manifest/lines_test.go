package manifest_test

import (
	"testing"

	"github.com/waooaw/platform-portal/internal/manifest"
)

func TestLinesOfFields(t *testing.T) {
	in := "# an agent\nname: a\nports:\n  - name: http\n    port: 1\n  -\n    name: tcp\nlabels:\n  a.b/c: x\n  \"odd\\nkey\": y\n---\nagents:\n  - name: b\n    tier: 9\n  - {name: c,\n     tier: 1}\n"
	docs, err := manifest.Parse([]byte(in))
	if err != nil {
		t.Fatal(err)
	}
	lines := manifest.LinesOf([]byte(in))
	if len(lines) != len(docs) {
		t.Fatalf("%d documents, lines of %d", len(docs), len(lines))
	}
	for _, tt := range []struct {
		doc  int
		path string
		want int
	}{
		{0, "", 2}, {0, "name", 2}, {0, "ports[0].port", 5}, {0, "ports[1]", 7}, {0, "ports[1].name", 7},
		{0, `labels["a.b/c"]`, 9}, {0, `labels["odd\nkey"]`, 10},
		{0, "ports[1].port", 7},        // not there: that of what it would lie in
		{0, "probes.liveness.http", 2}, // not there at all: that of the document
		{1, "tier", 14}, {2, "tier", 16},
	} {
		if got := lines[tt.doc].Of(tt.path); got != tt.want {
			t.Errorf("document %d, %s: line %d, want %d", tt.doc, tt.path, got, tt.want)
		}
	}
}

func TestLinesOfJSON(t *testing.T) {
	lines := manifest.LinesOf([]byte("{\"name\": \"a\",\n \"tier\": 9}"))
	if len(lines) != 1 || lines[0].Of("tier") != 2 {
		t.Errorf("got %v", lines)
	}
}
