package segment_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

func TestCopiesHaveEachLineOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "one")
	begun := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	type line struct {
		after time.Duration
		text  string
	}
	all := []line{{0, "a"}, {time.Second, "b"}, {time.Second, "c"}, {2 * time.Second, "d\r"}}
	open := func() *segment.Copy {
		t.Helper()
		c := &segment.Copy{}
		if fresh, err := c.Open(dir, 1<<20, 2); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
		if fresh, err := c.Open(dir, 1<<20, 2); err != nil || fresh {
			t.Fatal("opened twice", err)
		}
		return c
	}
	give := func(c *segment.Copy, lines []line) {
		c.Begin()
		for _, l := range lines {
			if at := begun.Add(l.after); !at.Before(c.Since()) || c.Since().IsZero() { // as engines do that are told since when
				c.Line(at, segment.Stdout, false, []byte(l.text))
			}
		}
		c.Flush()
	}
	got := func() (texts []string) {
		t.Helper()
		err := segment.Read(t.Context(), filepath.Dir(dir), fleet.LogQuery{AgentID: "x"}, func(l fleet.LogLine) error {
			texts = append(texts, l.Text)
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		return texts
	}
	(&segment.Copy{}).Note("nobody writes") // and nothing happens
	c := open()
	give(c, all[:2])
	give(c, all[:3]) // b comes again, with another of its time
	give(c, all[:3])
	c.Note("a note")
	c.Close()
	if want := []string{"a", "b", "c", "a note"}; !slices.Equal(got(), want) {
		t.Fatalf("it has %q", got())
	}
	c = open() // another portal
	if c.Resume(dir, begun.Add(time.Hour)) || !c.Since().IsZero() {
		t.Error("what is younger than all lines has lines")
	}
	if !c.Resume(dir, begun) || c.Since().Before(begun.Add(time.Second)) || c.Since().After(begun.Add(2*time.Second)) {
		t.Errorf("it goes on at %s", c.Since())
	}
	give(c, all[2:])
	if want := []string{"a", "b", "c", "a note", "d"}; !slices.Equal(got(), want) {
		t.Errorf("it has %q", got())
	}
	c.Forget() // another container
	give(c, all[:1])
	c.Close()
	if len(got()) != 6 {
		t.Errorf("it has %q", got())
	}
}
