package live_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strings"
	"testing"
)

// A browser hears an event of a stream only if the page asks for it by name.
func TestPagesAskForEveryTypeOfEvent(t *testing.T) {
	asked, err := os.ReadFile("../web/assets/src/live/connection.ts")
	if err != nil {
		t.Fatal(err)
	}
	file, err := parser.ParseFile(token.NewFileSet(), "../event/event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(file, func(node ast.Node) bool {
		spec, ok := node.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if kind, ok := spec.Type.(*ast.Ident); ok && kind.Name == "Type" {
			n++
			if value := spec.Values[0].(*ast.BasicLit).Value; !strings.Contains(string(asked), value) {
				t.Errorf("the page does not ask for %s", value)
			}
		}
		return true
	})
	if n < 10 {
		t.Errorf("only %d types were found", n)
	}
}
