package tsdb

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/waooaw/platform-portal/internal/metrics"
)

// Series implements metrics.Catalog.
func (d *DB) Series(ctx context.Context, s metrics.Selection) ([]map[string]string, error) {
	seen := map[string]labels.Labels{}
	hints := &storage.SelectHints{Start: s.Start.UnixMilli(), End: s.End.UnixMilli(), Func: "series", Limit: s.Most()}
	err := d.browse(ctx, s, func(ctx context.Context, q storage.Querier, m []*labels.Matcher) error {
		set := q.Select(ctx, false, hints, m...)
		for len(seen) < s.Most() && set.Next() {
			l := set.At().Labels()
			seen[string(l.Bytes(nil))] = l
		}
		return set.Err()
	})
	if err != nil {
		return nil, err
	}
	all := make([]labels.Labels, 0, len(seen))
	for _, l := range seen {
		all = append(all, l)
	}
	slices.SortFunc(all, labels.Compare)
	out := make([]map[string]string, len(all))
	for i, l := range all {
		out[i] = plain(l)
	}
	return out, nil
}

// LabelNames implements metrics.Catalog.
func (d *DB) LabelNames(ctx context.Context, s metrics.Selection) ([]string, error) {
	return d.words(ctx, s, func(ctx context.Context, q storage.Querier, m []*labels.Matcher) ([]string, error) {
		list, _, err := q.LabelNames(ctx, &storage.LabelHints{Limit: s.Most()}, m...)
		return list, err
	})
}

// LabelValues implements metrics.Catalog.
func (d *DB) LabelValues(ctx context.Context, name string, s metrics.Selection) ([]string, error) {
	return d.words(ctx, s, func(ctx context.Context, q storage.Querier, m []*labels.Matcher) ([]string, error) {
		list, _, err := q.LabelValues(ctx, name, &storage.LabelHints{Limit: s.Most()}, m...)
		return list, err
	})
}

// words collects what each selector finds, sorted and once.
func (d *DB) words(ctx context.Context, s metrics.Selection, find func(context.Context, storage.Querier, []*labels.Matcher) ([]string, error)) ([]string, error) {
	out := []string{}
	err := d.browse(ctx, s, func(ctx context.Context, q storage.Querier, m []*labels.Matcher) error {
		list, err := find(ctx, q, m)
		for _, word := range list {
			out = append(out, strings.Clone(word)) // it lives no longer than the querier
		}
		return err
	})
	slices.SortFunc(out, cmp.Compare[string])
	out = slices.Compact(out)
	return out[:min(len(out), s.Most())], err
}

// browse calls do for each selector, or once for all series.
func (d *DB) browse(ctx context.Context, s metrics.Selection, do func(context.Context, storage.Querier, []*labels.Matcher) error) error {
	for _, m := range s.Match {
		if err := d.cfg.Limits.CheckExpr(m); err != nil {
			return err
		}
	}
	sets := [][]*labels.Matcher{nil}
	if len(s.Match) > 0 {
		sets = nil
		for _, text := range s.Match {
			m, err := d.parser.ParseMetricSelector(text)
			if err != nil {
				return misread(text, err)
			}
			sets = append(sets, m)
		}
	}
	db, err := d.ready(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Limits.Timeout)
	defer cancel()
	select {
	case d.running <- struct{}{}:
		defer func() { <-d.running }()
	case <-ctx.Done():
		return metrics.TooBusy()
	}
	q, err := db.Querier(s.Start.UnixMilli(), s.End.UnixMilli())
	if err != nil {
		return d.failed(err)
	}
	defer q.Close()
	for _, m := range sets {
		if err := do(ctx, q, m); err != nil {
			return d.failed(err)
		}
	}
	return nil
}
