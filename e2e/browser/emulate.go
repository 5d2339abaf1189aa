package browser

import (
	"context"
	"errors"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
)

// Size is a screen in CSS pixels.
type Size struct{ Width, Height int64 }

// Sizes that every page is looked at in: the narrowest phone, a laptop, and a
// large screen.
var (
	Phone  = Size{360, 740}
	Laptop = Size{1280, 800}
	Large  = Size{3840, 2160}
)

// Resize gives the tab a screen.
func (t *Tab) Resize(s Size) error {
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
			Width: s.Width, Height: s.Height, DeviceScaleFactor: 1, Mobile: false})
		return err
	})
}

// Preferences are what a visitor asks of every site.
type Preferences struct {
	Scheme       string // "dark" or "light"
	LessMotion   bool
	MoreContrast bool
	ForcedColors bool
}

// Prefer sets the visitor's preferences for the tab.
func (t *Tab) Prefer(p Preferences) error {
	pick := func(on bool, yes, no string) string {
		if on {
			return yes
		}
		return no
	}
	features := []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: p.Scheme},
		{Name: "prefers-reduced-motion", Value: pick(p.LessMotion, "reduce", "no-preference")},
		{Name: "prefers-contrast", Value: pick(p.MoreContrast, "more", "no-preference")},
		{Name: "forced-colors", Value: pick(p.ForcedColors, "active", "none")},
	}
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: features})
		return err
	})
}

// Slow makes the processor of the tab times slower, and its line one of
// mbit Mbit/s with 20 ms to the server; 1 and 0 take that back.
func (t *Tab) Slow(times, mbit float64) error {
	line := &network.Conditions{DownloadThroughput: -1, UploadThroughput: -1}
	if mbit > 0 {
		line = &network.Conditions{Latency: 20, DownloadThroughput: mbit * 1e6 / 8, UploadThroughput: mbit * 1e6 / 8}
	}
	return t.do(func(ctx context.Context) error {
		_, e1 := chromedp.Call(ctx, emulation.SetCPUThrottlingRate, emulation.SetCPUThrottlingRateParams{Rate: times})
		_, e2 := chromedp.Call(ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{line}})
		return errors.Join(e1, e2)
	})
}

// Offline takes the network away, or gives it back.
func (t *Tab) Offline(off bool) error {
	return t.do(func(ctx context.Context) error {
		_, e1 := chromedp.Call(ctx, network.EmulateNetworkConditionsByRule, network.EmulateNetworkConditionsByRuleParams{
			MatchedNetworkConditions: []*network.Conditions{{Offline: off, DownloadThroughput: -1, UploadThroughput: -1}}})
		_, e2 := chromedp.Call(ctx, network.OverrideNetworkState, network.OverrideNetworkStateParams{Offline: off, DownloadThroughput: -1, UploadThroughput: -1})
		return errors.Join(e1, e2)
	})
}

// Block refuses requests whose address matches one of the patterns of the
// URLPattern standard, e.g. "*://*:*/*.css"; none lifts it.
func (t *Tab) Block(patterns ...string) error {
	block := make([]*network.BlockPattern, len(patterns))
	for i, p := range patterns {
		block[i] = &network.BlockPattern{URLPattern: p, Block: true}
	}
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: block})
		return err
	})
}

// Scripts turns the scripts of pages on or off, from the next page on.
func (t *Tab) Scripts(on bool) error {
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
		return err
	})
}

// Fresh empties the visitor's cache, so that the next page is the first.
func (t *Tab) Fresh() error {
	return t.do(func(ctx context.Context) error {
		_, err := chromedp.Call(ctx, network.ClearBrowserCache, cdp.Empty{})
		return err
	})
}

// MainThread is how long the main thread of the tab's page has been working
// since the tab was opened.
func (t *Tab) MainThread() (time.Duration, error) {
	var out performance.GetMetricsResult
	err := t.do(func(ctx context.Context) (err error) {
		if _, err = chromedp.Call(ctx, performance.Enable, performance.EnableParams{}); err == nil {
			out, err = chromedp.Call(ctx, performance.GetMetrics, cdp.Empty{})
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	for _, m := range out.Metrics {
		if m.Name == "TaskDuration" {
			return time.Duration(m.Value * float64(time.Second)), nil
		}
	}
	return 0, errors.New("the browser does not say how long its main thread worked")
}
