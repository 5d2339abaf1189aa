package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/lab"
)

// measureLab lets every fault of the laboratory happen, once with the first
// suggestion taken and once repaired by the portal itself.
func measureLab(ctx context.Context, b *bench) error {
	seeds := make([]int64, b.labSeeds)
	for i := range seeds {
		seeds[i] = int64(i + 1)
	}
	for _, automatic := range []bool{false, true} {
		name := map[bool]string{false: "lab", true: "lab-automatic"}[automatic]
		p, err := b.portal(name)
		if err != nil {
			return err
		}
		if err := p.Start(ctx); err != nil {
			return err
		}
		bin, err := filepath.Abs(b.bin)
		if err != nil {
			return err
		}
		l, err := lab.New(lab.Config{URL: p.URL, Token: p.Token, Self: []string{bin, "agent", "run", "lab"}, Seeds: seeds, Automatic: automatic, Parallel: 3})
		if err != nil {
			return err
		}
		report, err := l.Run(ctx)
		if err != nil {
			return err
		}
		if err := report.Print(os.Stderr); err != nil {
			return err
		}
		for _, row := range report.Rows() {
			b.row(name+": "+row[0], row[2], "%s", row[1])
		}
		if err := p.Stop(); err != nil {
			return err
		}
	}
	return nil
}
