package browser

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var (
	//go:embed testdata/axe/axe.min.js
	axe string
	//go:embed testdata/axe/SHA256SUMS
	axeSum string
)

// Violation is a rule of accessibility that a page breaks.
type Violation struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		Target  []any  `json:"target"`
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

func (v Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s): %s, %d times", v.ID, v.Impact, v.Help, len(v.Nodes))
	for _, n := range v.Nodes[:min(len(v.Nodes), 4)] {
		fmt.Fprintf(&b, "\n    %v\n      %s\n      %s", n.Target, short(n.HTML), strings.ReplaceAll(n.Summary, "\n", "\n      "))
	}
	return b.String()
}

// audit runs the rules of WCAG 2.2 up to level AA, and axe's own good practice.
const audit = `axe.run(document, {resultTypes: ['violations'],
	runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']})
	.then(r => JSON.stringify({violations: r.violations, passes: r.passes.length}))`

// Axe checks the page as it is now, and gives the rules that it breaks and the
// number of those that it keeps.
func (t *Tab) Axe() (violations []Violation, kept int, err error) {
	sum := sha256.Sum256([]byte(axe))
	if hex.EncodeToString(sum[:]) != strings.Fields(axeSum)[0] {
		return nil, 0, errors.New("axe-core is not the file that SHA256SUMS names")
	}
	var out struct {
		Violations []Violation `json:"violations"`
		Passes     int         `json:"passes"`
	}
	err = t.do(func(ctx context.Context) error {
		// A world of its own: the page's policy does not hold there, and it sees
		// nothing of axe.
		tree, err := chromedp.Call(ctx, page.GetFrameTree, cdp.Empty{})
		if err != nil {
			return err
		}
		world, err := chromedp.Call(ctx, page.CreateIsolatedWorld, page.CreateIsolatedWorldParams{FrameID: tree.FrameTree.Frame.ID, WorldName: "axe"})
		if err != nil {
			return err
		}
		in := func(p *runtime.EvaluateParams) { p.ContextID = world.ExecutionContextID }
		if err := chromedp.Do(ctx, chromedp.Evaluate[chromedp.Void](axe, in)); err != nil {
			return err
		}
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string](audit, in, chromedp.EvalAwaitPromise))
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(text), &out)
	})
	if err == nil && out.Passes == 0 {
		err = errors.New("axe found nothing to check")
	}
	return out.Violations, out.Passes, err
}
