package browser

import (
	"context"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// Screenshot writes what the window shows to a PNG file.
func (t *Tab) Screenshot(file string) error {
	fast := true
	return t.do(func(ctx context.Context) error {
		out, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{OptimizeForSpeed: &fast})
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		return os.WriteFile(file, out.Data, 0o644) //nolint:gosec // pictures to look at
	})
}

// TooWide gives the elements that make the page wider than the window, so that
// it has to be scrolled sideways; what scrolls within itself is not counted.
func (t *Tab) TooWide() ([]string, error) {
	return Eval[[]string](t, `(() => {
		const width = document.documentElement.clientWidth;
		if (document.documentElement.scrollWidth <= width && document.body.scrollWidth <= width) return [];
		const scrolls = e => { for (let p = e.parentElement; p && p !== document.body; p = p.parentElement)
			if (getComputedStyle(p).overflowX !== 'visible') return true; return false };
		const wide = [...document.body.querySelectorAll('*')].filter(e => e.getBoundingClientRect().right > width + 0.5 && !scrolls(e));
		return ['the page is ' + document.documentElement.scrollWidth + ' px wide, the window ' + width,
			...wide.slice(0, 8).map(e => e.outerHTML.replace(/\s+/g, ' ').slice(0, 140) + ' ends at ' + Math.round(e.getBoundingClientRect().right))];
	})()`)
}
