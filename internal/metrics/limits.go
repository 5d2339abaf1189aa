package metrics

import (
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Limits bound what one question about series may cost. The zero value stands
// for the defaults.
type Limits struct {
	Timeout    time.Duration // of one query; 20 seconds
	Samples    int           // that a query may have in memory; 5 million, about 80 MB
	Points     int           // of each series of a range; 11,000
	Values     int           // of a result in all; 1 million
	Queries    int           // that run at once; 8
	Expression int           // bytes of an expression; 16 KiB
}

// Complete fills in the defaults.
func (l Limits) Complete() Limits {
	or := func(v *int, otherwise int) {
		if *v <= 0 {
			*v = otherwise
		}
	}
	if l.Timeout <= 0 {
		l.Timeout = 20 * time.Second
	}
	or(&l.Samples, 5_000_000)
	or(&l.Points, 11_000)
	or(&l.Values, 1_000_000)
	or(&l.Queries, 8)
	or(&l.Expression, 16<<10)
	return l
}

// CheckExpr refuses an expression that is too long to be read.
func (l Limits) CheckExpr(expr string) error {
	switch {
	case strings.TrimSpace(expr) == "":
		return Misread(expr, 0, "it is empty")
	case len(expr) > l.Expression:
		return fault.New(fault.TooLarge, "metrics.expression", "The expression is too long").
			Because("it has %d bytes, and %d are allowed", len(expr), l.Expression).Do("Split it into several queries.")
	}
	return nil
}

// The times that series can have: those which are exact as milliseconds and
// mean something to people.
var (
	earliest = time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC)
	latest   = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC)
)

// CheckRange refuses a span of time that runs backwards or has too many steps.
func (l Limits) CheckRange(r Range) error {
	bad := func(field, why string) error {
		return fault.New(fault.Invalid, "metrics.range", "The span of time can't be used").At(fault.Field{Path: field, Message: why})
	}
	switch {
	case r.Start.Before(earliest) || r.Start.After(latest):
		return bad("start", "must lie between 1970 and 2500")
	case r.End.Before(earliest) || r.End.After(latest):
		return bad("end", "must lie between 1970 and 2500")
	case r.End.Before(r.Start):
		return bad("end", "must not be before start")
	case r.Step < time.Millisecond:
		return bad("step", "must be at least 1ms")
	}
	if n := r.End.Sub(r.Start)/r.Step + 1; int64(n) > int64(l.Points) {
		return fault.New(fault.TooLarge, "metrics.points", "The span of time has too many steps").
			Because("it would give %d points a series, and %d are allowed", int64(n), l.Points).
			Do("Use a longer step or a shorter span.")
	}
	return nil
}

// Misread is the fault of an expression that can't be evaluated; at is the byte
// at which it goes wrong, or -1.
func Misread(expr string, at int, why string) error {
	f := fault.New(fault.Invalid, "metrics.expression", "The expression can't be evaluated").
		Do("See docs/metrics.md for the series that there are; the language is PromQL.")
	if at < 0 || at > len(expr) {
		return f.At(fault.Field{Path: "query", Message: why})
	}
	line := 1 + strings.Count(expr[:at], "\n")
	column := 1 + utf8.RuneCountInString(expr[strings.LastIndexByte(expr[:at], '\n')+1:at])
	return f.At(fault.Field{Path: "query", Message: why}).With("line", line).With("column", column)
}

// TooBusy is the fault of a query that found no place to run.
func TooBusy() error {
	return fault.New(fault.Unavailable, "metrics.busy", "Too many queries run at this moment").Do("Try again in a moment.")
}

// TooSlow is the fault of a query that took too long.
func TooSlow(l Limits) error {
	return fault.New(fault.TooLarge, "metrics.slow", "The query took too long").
		Because("a query may take %s", l.Complete().Timeout).Do("Ask for fewer series, a shorter span or a longer step.")
}

// TooMuch is the fault of a query that would read too much.
func TooMuch(l Limits) error {
	return fault.New(fault.TooLarge, "metrics.samples", "The query would read too much").
		Because("it may hold %d samples in memory", l.Complete().Samples).Do("Ask for fewer series, a shorter span or a longer step.")
}

// TooLong is the fault of a query that would give too much.
func TooLong(l Limits) error {
	return fault.New(fault.TooLarge, "metrics.values", "The query would give too much").
		Because("a result may have %d values", l.Complete().Values).Do("Ask for fewer series, sum them up, or use a longer step.")
}

// What labels may be, so that no page can fill the memory with them.
const (
	maxLabels     = 40
	maxLabelName  = 200
	maxLabelValue = 1024
)

// CheckLabels refuses labels that can't be kept.
func CheckLabels(labels map[string]string) error {
	bad := func(why string, args ...any) error {
		return fault.New(fault.Invalid, "metrics.labels", "A series of %.100q can't be kept", labels[LabelName]).Because(why, args...)
	}
	switch {
	case labels[LabelName] == "":
		return bad("it has no name")
	case len(labels) > maxLabels:
		return bad("it has %d labels, and %d are allowed", len(labels), maxLabels)
	}
	for name, value := range labels {
		switch {
		case name == "" || len(name) > maxLabelName || !utf8.ValidString(name):
			return bad("the name of a label is empty, longer than %d bytes, or not UTF-8", maxLabelName)
		case len(value) > maxLabelValue || !utf8.ValidString(value):
			return bad("the value of the label %.100q is longer than %d bytes or not UTF-8", name, maxLabelValue)
		}
	}
	return nil
}
