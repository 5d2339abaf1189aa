package lab

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Report is what came of a run of the lab.
type Report struct {
	Automatic bool      `json:"automatic"`
	Outcomes  []Outcome `json:"outcomes"`
	// Confusion counts, by fault, the causes that were found.
	Confusion map[string]map[string]int `json:"confusion"`
	Score     Score                     `json:"score"`
}

// Score are the figures that the lab is about. Shares are from 0 to 1.
type Score struct {
	Runs       int     `json:"runs"`    // of faults, those that could be done
	Failed     int     `json:"failed"`  // runs that the lab itself could not do
	Skipped    int     `json:"skipped"` // that this machine can't do
	ClassRight float64 `json:"class_right"`
	CauseRight float64 `json:"cause_right"`
	// FixWorks is the share of the runs in which the agent was well after the first
	// suggestion, or was so by itself before it could be taken.
	FixWorks    float64 `json:"fix_works"`
	Controls    int     `json:"controls"`
	FalseAlarms int     `json:"false_alarms"` // records of healthy agents
	Harmful     int     `json:"harmful_actions"`

	Noticed   Spread `json:"noticed"`   // fault to record
	Suggested Spread `json:"suggested"` // first seen, as the record says, to a suggestion that can be read
	Recovered Spread `json:"recovered"` // fault to well again
}

// Spread is a distribution of durations.
type Spread struct {
	P50 time.Duration `json:"p50_ns"`
	P95 time.Duration `json:"p95_ns"`
	Max time.Duration `json:"max_ns"`
	N   int           `json:"n"`
}

// String gives the spread in one line.
func (s Spread) String() string {
	r := func(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }
	return fmt.Sprintf("p50 %s, p95 %s, max %s (n=%d)", r(s.P50), r(s.P95), r(s.Max), s.N)
}

func spreadOf(list []time.Duration) Spread {
	if len(list) == 0 {
		return Spread{}
	}
	slices.Sort(list)
	at := func(q float64) time.Duration { return list[min(int(q*float64(len(list))), len(list)-1)] }
	return Spread{P50: at(.5), P95: at(.95), Max: list[len(list)-1], N: len(list)}
}

func newReport(all []Outcome, automatic bool) *Report {
	r := &Report{Automatic: automatic, Outcomes: all, Confusion: map[string]map[string]int{}}
	var noticed, suggested, recovered []time.Duration
	var class, cause, well int
	s := &r.Score
	for _, o := range all {
		if o.Failed != "" || o.Skipped != "" {
			s.Failed += count(o.Failed != "")
			s.Skipped += count(o.Skipped != "")
			continue
		}
		s.Harmful += len(o.Harm)
		s.FalseAlarms += len(o.Early)
		if r.Confusion[o.Fault] == nil {
			r.Confusion[o.Fault] = map[string]int{}
		}
		r.Confusion[o.Fault][o.Cause]++
		if o.Fault == Healthy {
			s.Controls++
			if o.Cause != None {
				s.FalseAlarms += 1 + len(o.Others)
			}
			continue
		}
		s.Runs++
		class += count(o.Class == o.WantClass)
		cause += count(o.Cause == o.Fault)
		well += count(o.Well)
		if o.Noticed > 0 {
			noticed = append(noticed, o.Noticed)
		}
		if o.Suggested > 0 {
			suggested = append(suggested, o.Suggested)
		}
		if o.Recovered > 0 {
			recovered = append(recovered, o.Recovered)
		}
	}
	if s.Runs > 0 {
		n := float64(s.Runs)
		s.ClassRight, s.CauseRight, s.FixWorks = float64(class)/n, float64(cause)/n, float64(well)/n
	}
	s.Noticed, s.Suggested, s.Recovered = spreadOf(noticed), spreadOf(suggested), spreadOf(recovered)
	return r
}

func count(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Print writes the report for people: the confusion table, the score, and every
// run that was not right.
func (r *Report) Print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "TRUTH\tRUNS\tFOUND")
	for _, name := range Names() {
		row := r.Confusion[name]
		if row == nil {
			continue
		}
		runs, parts := 0, []string{}
		for _, c := range slices.SortedFunc(maps.Keys(row), func(a, b string) int { return cmp.Or(row[b]-row[a], strings.Compare(a, b)) }) {
			runs += row[c]
			parts = append(parts, fmt.Sprintf("%s %d", c, row[c]))
		}
		fmt.Fprintf(t, "%s\t%d\t%s\n", name, runs, strings.Join(parts, ", "))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	for _, row := range r.Rows() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", row[0], row[1], row[2])
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, o := range r.Outcomes {
		if text := o.wrong(); text != "" {
			fmt.Fprintf(w, "\n%s, seed %d (%s)\n%s", o.Fault, o.Seed, o.Detail, text)
		}
	}
	return nil
}

// Rows are the figures with their targets.
func (r *Report) Rows() [][3]string {
	s := r.Score
	percent := func(f float64) string { return fmt.Sprintf("%.1f %% of %d", 100*f, s.Runs) }
	rows := [][3]string{
		{"class right", percent(s.ClassRight), ">= 95 %"},
		{"cause right", percent(s.CauseRight), ">= 90 %"},
	}
	if r.Automatic {
		rows = append(rows,
			[3]string{"repaired by itself", percent(s.FixWorks), ""},
			[3]string{"fault to recovered, automatic", s.Recovered.String(), "p95 < 30 s"})
	} else {
		rows = append(rows, [3]string{"first suggestion works", percent(s.FixWorks), ">= 80 %"})
	}
	rows = append(rows,
		[3]string{"harmful actions on healthy agents", fmt.Sprintf("%d on %d controls", s.Harmful, s.Controls), "0"},
		[3]string{"false alarms on healthy agents", fmt.Sprintf("%d on %d controls", s.FalseAlarms, s.Controls), "0"},
		[3]string{"fault to record", s.Noticed.String(), ""},
		[3]string{"first seen to suggestion", s.Suggested.String(), "p95 < 5 s"})
	if s.Failed > 0 {
		rows = append(rows, [3]string{"runs that could not be done", fmt.Sprint(s.Failed), "0"})
	}
	if s.Skipped > 0 {
		rows = append(rows, [3]string{"runs that this machine can't do", fmt.Sprint(s.Skipped), ""})
	}
	return rows
}

// wrong says what was not right about a run.
func (o Outcome) wrong() string {
	var b strings.Builder
	if o.Failed != "" {
		fmt.Fprintf(&b, "  could not be done: %s\n", o.Failed)
		return b.String()
	}
	if o.Skipped != "" {
		return "  left out: " + o.Skipped + "\n"
	}
	want := o.Fault
	if want == Healthy {
		want = None
	}
	if o.Cause != want {
		fmt.Fprintf(&b, "  found %s/%s instead of %s/%s: %s\n", o.Class, o.Cause, o.WantClass, want, o.Title)
	} else if o.Class != o.WantClass && o.Fault != Healthy {
		fmt.Fprintf(&b, "  found class %s instead of %s\n", o.Class, o.WantClass)
	}
	if !o.Well {
		fmt.Fprintf(&b, "  not well after %s (offered: %s): %s\n", cmp.Or(o.Fix, "nothing"), strings.Join(o.Offered, ", "), o.Ended)
	}
	if len(o.Early) > 0 {
		fmt.Fprintf(&b, "  said of it while it was healthy: %s\n", strings.Join(o.Early, ", "))
	}
	for _, h := range o.Harm {
		fmt.Fprintf(&b, "  harm: %s\n", h)
	}
	return b.String()
}
