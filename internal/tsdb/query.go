package tsdb

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// Instant implements metrics.Querier.
func (d *DB) Instant(ctx context.Context, expr string, at time.Time) (metrics.Result, error) {
	return d.evaluate(ctx, expr, func(ctx context.Context, db *tsdb.DB) (promql.Query, error) {
		return d.engine.NewInstantQuery(ctx, db, nil, expr, at)
	})
}

// Range implements metrics.Querier.
func (d *DB) Range(ctx context.Context, expr string, r metrics.Range) (metrics.Result, error) {
	if err := d.cfg.Limits.CheckRange(r); err != nil {
		return metrics.Result{}, err
	}
	return d.evaluate(ctx, expr, func(ctx context.Context, db *tsdb.DB) (promql.Query, error) {
		return d.engine.NewRangeQuery(ctx, db, nil, expr, r.Start, r.End, r.Step)
	})
}

// evaluate runs a query within the limits.
func (d *DB) evaluate(ctx context.Context, expr string, prepare func(context.Context, *tsdb.DB) (promql.Query, error)) (metrics.Result, error) {
	if err := d.cfg.Limits.CheckExpr(expr); err != nil {
		return metrics.Result{}, err
	}
	if _, err := d.parser.ParseExpr(expr); err != nil {
		return metrics.Result{}, misread(expr, err)
	}
	db, err := d.ready(ctx)
	if err != nil {
		return metrics.Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Limits.Timeout)
	defer cancel()
	select {
	case d.running <- struct{}{}:
		defer func() { <-d.running }()
	case <-ctx.Done():
		return metrics.Result{}, metrics.TooBusy()
	}
	q, err := prepare(ctx, db)
	if err != nil {
		return metrics.Result{}, misread(expr, err)
	}
	defer q.Close()
	ctx, left := noting(ctx)
	result := q.Exec(ctx)
	if result.Err != nil {
		return metrics.Result{}, d.failed(result.Err)
	}
	out, err := d.resultOf(expr, result)
	out.Warnings = append(out.Warnings, left.warnings()...)
	return out, err
}

// misread says what is wrong with an expression, and where.
func misread(expr string, err error) error {
	var list parser.ParseErrors
	var one *parser.ParseErr
	switch {
	case errors.As(err, &list) && len(list) > 0:
		one = &list[0]
	case errors.As(err, &one):
	default:
		return metrics.Misread(expr, -1, err.Error())
	}
	return metrics.Misread(expr, int(one.PositionRange.Start), one.Err.Error())
}

// failed says why a query that was understood has no result.
func (d *DB) failed(err error) error {
	var timeout promql.ErrQueryTimeout
	var canceled promql.ErrQueryCanceled
	var many promql.ErrTooManySamples
	var broken promql.ErrStorage
	switch {
	case errors.As(err, &timeout):
		return metrics.TooSlow(d.cfg.Limits)
	case errors.As(err, &many):
		return metrics.TooMuch(d.cfg.Limits)
	case errors.As(err, &canceled), errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fault.New(fault.Unavailable, "metrics.canceled", "The query was given up").Because("nobody waits for its result any more").Wrap(err)
	case errors.As(err, &broken):
		return fault.New(fault.Unavailable, "metrics.unreadable", "Some of the time series can't be read").
			Because("a file of them is damaged").Do("Query a later time, and see the portal's log for the file.").Wrap(err)
	}
	return metrics.Misread("", -1, err.Error())
}

// resultOf turns a result into the domain's.
func (d *DB) resultOf(expr string, r *promql.Result) (metrics.Result, error) {
	out := metrics.Result{Type: metrics.ResultType(r.Value.Type())}
	warnings, infos := r.Warnings.AsStrings(expr, 10, 10)
	out.Warnings = append(warnings, infos...)
	points := 0
	add := func(labels map[string]string, list []metrics.Point) {
		out.Series = append(out.Series, metrics.Points{Labels: labels, Points: list})
		points += len(list)
	}
	switch v := r.Value.(type) {
	case promql.Matrix:
		for _, s := range v {
			if points += len(s.Floats); points > d.cfg.Limits.Values {
				return metrics.Result{}, metrics.TooLong(d.cfg.Limits)
			}
			list := make([]metrics.Point, len(s.Floats))
			for i, p := range s.Floats {
				list[i] = metrics.Point{At: moment(p.T), Value: p.F}
			}
			out.Series = append(out.Series, metrics.Points{Labels: plain(s.Metric), Points: list})
		}
	case promql.Vector:
		if len(v) > d.cfg.Limits.Values {
			return metrics.Result{}, metrics.TooLong(d.cfg.Limits)
		}
		for _, s := range v {
			add(plain(s.Metric), []metrics.Point{{At: moment(s.T), Value: s.F}})
		}
	case promql.Scalar:
		add(nil, []metrics.Point{{At: moment(v.T), Value: v.V}})
	case promql.String:
		out.Text = v.V
	}
	return out, nil
}

func moment(ms int64) time.Time {
	if ms == math.MinInt64 || ms == math.MaxInt64 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
