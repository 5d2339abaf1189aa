package web

import (
	"bytes"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/a-h/templ"
)

// A page says where the stream of events was before it was made, so that
// nothing is missed between then and its first message.
func TestPageSaysFromWhereItGoesOn(t *testing.T) {
	place := int64(41)
	s := New(Config{Place: func() int64 { place++; return place }})
	ctx := s.placed(httptest.NewRequest("GET", "/agents", nil)).Context()
	var page bytes.Buffer
	if err := layout(Shell{Title: "x"}, templ.NopComponent).Render(ctx, &page); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(page.String(), `data-live-at="42"`) {
		t.Errorf("the page has no place: %.2000s", page.String())
	}
}
