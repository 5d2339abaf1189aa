package promserver

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/metrics"
)

// pair is a value with its time, [1700000000.123, "1.5"].
type pair struct {
	at   time.Time
	text string
}

// maxSeconds is a time that can be written as others are: before the year 9000.
const maxSeconds = 7000 * 365 * 24 * 3600

// UnmarshalJSON reads the two.
func (p *pair) UnmarshalJSON(b []byte) error {
	var raw [2]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil {
		return err
	}
	seconds, err := strconv.ParseFloat(string(raw[0]), 64)
	if err != nil || !(math.Abs(seconds) <= maxSeconds) {
		return fmt.Errorf("%.40q is not a time", raw[0])
	}
	p.at = time.UnixMilli(int64(math.Round(seconds * 1000))).UTC()
	return json.Unmarshal(raw[1], &p.text)
}

func (p pair) point() (metrics.Point, error) {
	v, err := strconv.ParseFloat(p.text, 64)
	return metrics.Point{At: p.at, Value: v}, err
}

// resultOf reads the result of a query.
func resultOf(data json.RawMessage, limits metrics.Limits) (metrics.Result, error) {
	var head struct {
		Type   metrics.ResultType `json:"resultType"`
		Result json.RawMessage    `json:"result"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return metrics.Result{}, strange(err)
	}
	out := metrics.Result{Type: head.Type}
	switch head.Type {
	case metrics.Scalar, metrics.Text:
		var p pair
		if err := json.Unmarshal(head.Result, &p); err != nil {
			return out, strange(err)
		}
		if out.Text = p.text; head.Type == metrics.Text {
			return out, nil
		}
		out.Text = ""
		point, err := p.point()
		if err != nil {
			return out, strange(err)
		}
		out.Series = []metrics.Points{{Points: []metrics.Point{point}}}
		return out, nil
	case metrics.Vector, metrics.Matrix:
		var list []struct {
			Metric map[string]string `json:"metric"`
			Value  *pair             `json:"value"`
			Values []pair            `json:"values"`
		}
		if err := json.Unmarshal(head.Result, &list); err != nil {
			return out, strange(err)
		}
		n := 0
		for _, s := range list {
			one := metrics.Points{Labels: s.Metric}
			if s.Value != nil {
				s.Values = append(s.Values, *s.Value)
			}
			if n += len(s.Values); n > limits.Values {
				return metrics.Result{}, metrics.TooLong(limits)
			}
			for _, p := range s.Values {
				point, err := p.point()
				if err != nil {
					return out, strange(err)
				}
				one.Points = append(one.Points, point)
			}
			if len(one.Points) > 0 { // one of native histograms alone has none
				out.Series = append(out.Series, one)
			}
		}
		return out, nil
	}
	return out, strange(fmt.Errorf("a result of the type %.40q", head.Type))
}

func strange(err error) error {
	return fault.New(fault.Unavailable, "metrics.server", "The metrics server gave an answer that can't be read").Because("%v", err).Wrap(err)
}
