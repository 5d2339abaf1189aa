package components_test

import (
	"context"
	"strings"
	"testing"

	"github.com/a-h/templ"
)

// shown is what a part becomes in a page.
type shown struct {
	t    *testing.T
	html string
}

func show(t *testing.T, part templ.Component, children ...templ.Component) shown {
	t.Helper()
	ctx := templ.WithNonce(context.Background(), "n0nce")
	if len(children) > 0 {
		ctx = templ.WithChildren(ctx, templ.Join(children...))
	}
	var b strings.Builder
	if err := part.Render(ctx, &b); err != nil {
		t.Fatal(err)
	}
	return shown{t, b.String()}
}

func (s shown) has(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if !strings.Contains(s.html, text) {
			s.t.Errorf("%q is missing in %s", text, s.html)
		}
	}
}

func (s shown) lacks(texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		if strings.Contains(s.html, text) {
			s.t.Errorf("%q stands in %s", text, s.html)
		}
	}
}

// inOrder holds that the texts come one after the other.
func (s shown) inOrder(texts ...string) {
	s.t.Helper()
	rest := s.html
	for _, text := range texts {
		_, after, ok := strings.Cut(rest, text)
		if !ok {
			s.t.Fatalf("%q is missing, or not after what has to come before, in %s", text, s.html)
		}
		rest = after
	}
}

func words(text string) templ.Component { return templ.Raw(templ.EscapeString(text)) }

const evil = `<script>alert(1)</script>"onload="x`
