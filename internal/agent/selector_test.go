package agent_test

import (
	"strings"
	"testing"

	"github.com/waooaw/platform-portal/internal/agent"
	"github.com/waooaw/platform-portal/internal/fault"
)

func TestSelector(t *testing.T) {
	labels := map[string]string{"env": "prod", "tier": "4", "example.com/zone": "a", "empty": ""}
	for _, tt := range []struct {
		in, canonical string
		want          bool
	}{
		{"", "", true},
		{"  ", "", true},
		{"env=prod", "env=prod", true},
		{"env == prod", "env=prod", true},
		{"env=dev", "env=dev", false},
		{"env!=dev", "env!=dev", true},
		{"team!=x", "team!=x", true},
		{"env!=prod", "env!=prod", false},
		{"tier in (3, 4)", "tier in (3,4)", true},
		{"tier in(4,4)", "tier in (4)", true},
		{"tier in (5)", "tier in (5)", false},
		{"team in (x)", "team in (x)", false},
		{"tier notin (4)", "tier notin (4)", false},
		{"team notin (x)", "team notin (x)", true},
		{"env", "env", true},
		{"!env", "!env", false},
		{"! team", "!team", true},
		{"team", "team", false},
		{"empty=", "empty=", true},
		{"env=", "env=", false},
		{"empty in (,x)", "empty in (,x)", true},
		{"example.com/zone=a,env=prod,!team", "example.com/zone=a,env=prod,!team", true},
		{"env=prod,tier=5", "env=prod,tier=5", false},
		{"in in (a)", "in in (a)", false},
	} {
		sel, err := agent.ParseSelector(tt.in)
		if err != nil {
			t.Errorf("%q: %v", tt.in, err)
			continue
		}
		if got := sel.Matches(labels); got != tt.want {
			t.Errorf("%q: matches is %v", tt.in, got)
		}
		if got := sel.String(); got != tt.canonical {
			t.Errorf("%q: written as %q, want %q", tt.in, got, tt.canonical)
		}
	}
}

func TestSelectorRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"=x": "not a label", "a b": "not an operator", "a=b c=d": "comma is missing", "a in b": "values in brackets",
		"a in (b": "not closed", "a,": "not a label", ",": "not a label", "!": "not a label", "a gt 3": "not an operator",
		"a=b/c": "not the value", "a in (b c)": "not closed", "é=1": "not a label", "a in ((": "not closed", "-a=1": "not a label",
		"A.B/c": "not a label", "a in (b/c)": "not the value",
		strings.Repeat("a,", 40) + "a": "more than 32",
	} {
		_, err := agent.ParseSelector(in)
		if fault.KindOf(err) != fault.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want …%s…", in, err, want)
		}
	}
}

func FuzzParseSelector(f *testing.F) {
	for _, s := range []string{"a=b", "a in (b,c),!d", "a notin (,)", "x/y!=", "!a", "a b", "(", "a==b,,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sel, err := agent.ParseSelector(s)
		if err != nil {
			if fault.KindOf(err) != fault.Invalid {
				t.Fatal(err)
			}
			return
		}
		again, err := agent.ParseSelector(sel.String())
		if err != nil || again.String() != sel.String() {
			t.Fatalf("%q became %q, then %q, %v", s, sel, again, err)
		}
	})
}
