package tsdb

import (
	"regexp"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// Narrow makes an expression be about some agents only: every selector in it
// gets one more matcher. Faults: Invalid as of metrics.Querier.
func Narrow(expr string, agents []string) (string, error) {
	if err := (metrics.Limits{}).Complete().CheckExpr(expr); err != nil {
		return "", err
	}
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return "", misread(expr, err)
	}
	quoted := make([]string, len(agents))
	for i, id := range agents {
		quoted[i] = regexp.QuoteMeta(id)
	}
	only, err := labels.NewMatcher(labels.MatchRegexp, metrics.LabelAgent, strings.Join(quoted, "|"))
	if len(agents) == 1 {
		only, err = labels.NewMatcher(labels.MatchEqual, metrics.LabelAgent, agents[0])
	}
	if err != nil {
		return "", misread(expr, err)
	}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		if s, ok := n.(*parser.VectorSelector); ok {
			s.LabelMatchers = append(s.LabelMatchers, only)
		}
		return nil
	})
	return tree.String(), nil
}
