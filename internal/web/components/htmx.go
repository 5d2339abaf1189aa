// Package components holds the parts that pages are made of: each in one file
// with its markup, beside it its styles, and all shown at /gallery.
package components

import (
	"context"

	"github.com/a-h/templ"
)

// HX gives attributes for htmx, as pairs of name and value, with the nonce that
// marks them as ours: without it the browser's guard strips them.
func HX(ctx context.Context, pairs ...string) templ.Attributes {
	out := templ.Attributes{"hx-nonce": templ.GetNonce(ctx)}
	for i := 0; i+1 < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}
