// Package lab lets some faults of the laboratory happen to agents of the built
// portal, from the fault to the repair. All of them, with many seeds, are a
// matter of the benchmarks.
package lab

import (
	"context"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/e2e/drive"
	"github.com/waooaw/platform-portal/e2e/drive/drivetest"
	"github.com/waooaw/platform-portal/internal/lab"
)

func TestFaultsAreFoundAndTheFirstSuggestionRepairsThem(t *testing.T) {
	if testing.Short() {
		t.Skip("agents are made to suffer for half a minute")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	bin, err := drive.Build(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	p := drivetest.Open(t, bin, "process")
	l, err := lab.New(lab.Config{URL: p.URL, Token: p.Token, Self: []string{bin, "agent", "run", "lab"}, Seeds: []int64{1},
		Faults: []string{"port_in_use", "missing_variable", "hang", lab.Healthy}, Parallel: 2, Patience: 2 * time.Minute, Watch: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	report, err := l.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range report.Outcomes {
		want := o.Fault
		if want == lab.Healthy {
			want = lab.None
		}
		if o.Failed != "" || o.Cause != want || o.WantClass != "" && o.Class != o.WantClass || !o.Well || len(o.Harm)+len(o.Early) > 0 {
			t.Errorf("%+v", o)
		}
	}
	left, err := p.Agents(ctx, "")
	if err != nil || len(left) > 0 {
		t.Errorf("the laboratory left %v behind, %v", left, err)
	}
}
