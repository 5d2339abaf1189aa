package segment_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/fleet"
	"github.com/waooaw/platform-portal/internal/fleet/segment"
)

func open(t testing.TB, dir string, size int64, count int) *segment.Writer {
	t.Helper()
	w, err := segment.Open(dir, size, count)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func read(t testing.TB, dir string, q fleet.LogQuery) []fleet.LogLine {
	t.Helper()
	var lines []fleet.LogLine
	if err := segment.Read(context.Background(), dir, q, func(l fleet.LogLine) error {
		lines = append(lines, l)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

func text(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d\n", i)
	}
	return b.String()
}

// follow reads on in the background until n lines came.
func follow(t *testing.T, dir string, q fleet.LogQuery, n int) <-chan []fleet.LogLine {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	done := make(chan []fleet.LogLine, 1)
	q.Follow = true
	go func() {
		defer cancel()
		var lines []fleet.LogLine
		err := segment.Read(ctx, dir, q, func(l fleet.LogLine) error {
			if lines = append(lines, l); len(lines) == n {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("following ended with %v after %d lines", err, len(lines))
		}
		done <- lines
	}()
	return done
}

func TestNothingIsLostOrDoubledAcrossRotations(t *testing.T) {
	dir := t.TempDir()
	const n = 5000
	w := open(t, filepath.Join(dir, "a-r1-0"), 4096, 1000)
	following := follow(t, dir, fleet.LogQuery{AgentID: "a"}, n)
	w.Copy(strings.NewReader(text(0, n)), segment.Stdout)
	segments, _ := os.ReadDir(filepath.Join(dir, "a-r1-0"))
	if len(segments) < 10 {
		t.Fatalf("only %d segments", len(segments))
	}
	all := read(t, dir, fleet.LogQuery{AgentID: "a"})
	for what, lines := range map[string][]fleet.LogLine{"read": all, "followed": <-following} {
		if len(lines) != n {
			t.Fatalf("%s %d lines", what, len(lines))
		}
		for i, l := range lines {
			if l.Text != fmt.Sprint("line ", i) || i > 0 && !l.At.After(lines[i-1].At) {
				t.Fatalf("%s line %d: %+v", what, i, l)
			}
		}
	}
	for _, i := range []int{0, 17, 2500, n - 2} {
		rest := read(t, dir, fleet.LogQuery{AgentID: "a", After: all[i].Cursor})
		if len(rest) != n-1-i || rest[0].Text != all[i+1].Text {
			t.Errorf("after line %d come %d lines", i, len(rest))
		}
		tail := read(t, dir, fleet.LogQuery{AgentID: "a", Tail: n - i})
		if len(tail) != n-i || tail[0].Text != all[i].Text {
			t.Errorf("the last %d are %d", n-i, len(tail))
		}
		since := read(t, dir, fleet.LogQuery{AgentID: "a", Since: all[i].At})
		if len(since) != n-i {
			t.Errorf("since line %d are %d", i, len(since))
		}
	}
}

func TestOldSegmentsAreDropped(t *testing.T) {
	dir := t.TempDir()
	w := open(t, filepath.Join(dir, "a-r1-0"), 4096, 3)
	w.Copy(strings.NewReader(text(0, 300)), segment.Stdout)
	old := read(t, dir, fleet.LogQuery{AgentID: "a", Limit: 1})[0]
	w.Copy(strings.NewReader(text(300, 3000)), segment.Stdout)
	entries, _ := os.ReadDir(filepath.Join(dir, "a-r1-0"))
	if len(entries) != 3 {
		t.Errorf("%d segments are kept", len(entries))
	}
	lines := read(t, dir, fleet.LogQuery{AgentID: "a", After: old.Cursor})
	if len(lines) == 0 || lines[len(lines)-1].Text != "line 2999" {
		t.Errorf("%d lines after a cursor into what is gone", len(lines))
	}
}

func TestAWriterGoesOnWhereTheLastWasKilled(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "a-r1-0")
	future := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	if err := os.MkdirAll(in, 0o700); err != nil {
		t.Fatal(err)
	}
	torn := future.Format(time.RFC3339Nano) + " stdout F whole\n" + future.Add(time.Second).Format(time.RFC3339Nano) + " stdout F half"
	if err := os.WriteFile(filepath.Join(in, "00000007.log"), []byte(torn), 0o600); err != nil {
		t.Fatal(err)
	}
	w := open(t, in, 1<<20, 4)
	w.Note("back %s", "again")
	lines := read(t, dir, fleet.LogQuery{AgentID: "a"})
	if len(lines) != 3 || lines[1].Text != "half" || lines[2].Text != "back again" || lines[2].Stream != segment.Portal {
		t.Fatalf("lines %+v", lines)
	}
	if !lines[2].At.After(lines[1].At) {
		t.Error("time went back though the clock was set back only")
	}
}

func TestADirectoryMadeAnewIsReadFromItsStart(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "a-r1-0")
	open(t, in, 1<<20, 4).Copy(strings.NewReader(text(0, 10)), segment.Stdout)
	seen := make(chan string, 100)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		_ = segment.Read(ctx, dir, fleet.LogQuery{AgentID: "a", Follow: true}, func(l fleet.LogLine) error {
			seen <- l.Text
			return nil
		})
	}()
	for range 10 {
		<-seen
	}
	if err := os.RemoveAll(in); err != nil {
		t.Fatal(err)
	}
	open(t, in, 1<<20, 4).Copy(strings.NewReader("anew\n"), segment.Stdout)
	select {
	case text := <-seen:
		if text != "anew" {
			t.Errorf("got %q", text)
		}
	case <-ctx.Done():
		t.Error("the new line did not come")
	}
}

func TestInstancesThatAppearWhileFollowingAreHeard(t *testing.T) {
	dir := t.TempDir()
	following := follow(t, filepath.Join(dir, "not-there-yet"), fleet.LogQuery{AgentID: "a", Tail: 5}, 4)
	for _, name := range []string{"a-r1-0", "a-r2-0"} {
		open(t, filepath.Join(dir, "not-there-yet", name), 1<<20, 4).Copy(strings.NewReader(text(0, 2)), segment.Stderr)
	}
	lines := <-following
	// Their cursor knows both.
	if rest := read(t, filepath.Join(dir, "not-there-yet"), fleet.LogQuery{AgentID: "a", After: lines[3].Cursor}); len(rest) != 0 {
		t.Errorf("read twice: %+v", rest)
	}
	if last := segment.Last(filepath.Join(dir, "not-there-yet", "a-r1-0"), 1, 3); len(last) != 1 || last[0] != "lin…" {
		t.Errorf("last lines %q", last)
	}
}

// slow gives one byte a read, as a slow program may.
type slow struct{ r io.Reader }

func (s slow) Read(p []byte) (int, error) { return s.r.Read(p[:min(1, len(p))]) }

func TestLinesComeWholeHoweverTheyArrive(t *testing.T) {
	long := strings.Repeat("ü", segment.MaxLine) // twice the bound, in bytes
	input := "one\n\ntwo\r\n" + long + "\nlast without end"
	for name, r := range map[string]io.Reader{"at once": strings.NewReader(input), "by bytes": slow{strings.NewReader(input)}} {
		dir := t.TempDir()
		open(t, filepath.Join(dir, "a-r1-0"), 8<<20, 4).Copy(r, segment.Stdout)
		var got []string
		whole := ""
		for _, l := range read(t, dir, fleet.LogQuery{AgentID: "a"}) {
			if strings.HasPrefix(l.Text, "ü") {
				whole += strings.TrimSuffix(l.Text, " [continues]")
				continue
			}
			got = append(got, l.Text)
		}
		if strings.Join(got, "|") != "one||two||last without end" && strings.Join(got, "|") != "one||two|last without end" {
			t.Errorf("%s: %q", name, got)
		}
		if whole != long {
			t.Errorf("%s: %d bytes of the long line", name, len(whole))
		}
	}
}

func TestAFullDiskLosesLinesButSaysSo(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full here")
	}
	dir := t.TempDir()
	in := filepath.Join(dir, "a-r1-0")
	if err := os.MkdirAll(in, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", filepath.Join(in, "00000001.log")); err != nil {
		t.Fatal(err)
	}
	w := open(t, in, 4096, 2)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.Copy(bytes.NewReader(bytes.Repeat([]byte("x\n"), 10000)), segment.Stdout)
	}()
	select {
	case <-done: // and the program did not hang for it
	case <-time.After(time.Minute):
		t.Fatal("the writer hangs")
	}
}

func TestCursorsOfOthersAreRefused(t *testing.T) {
	for _, bad := range []string{"x", "a~1", "a~b~c", "~1~2", "a~-1~2", "a~1~-2", "a~1~2,", strings.Repeat("~", 100)} {
		err := segment.Read(context.Background(), t.TempDir(), fleet.LogQuery{AgentID: "a", After: bad}, nil)
		if fault.KindOf(err) != fault.Invalid {
			t.Errorf("%q gives %v", bad, err)
		}
	}
}

// FuzzRead holds that any content can be read: to its end, within bounds, each
// line once, and on from every cursor.
func FuzzRead(f *testing.F) {
	f.Add([]byte("2024-05-06T07:08:09.1Z stdout F hello\n"), []byte("2024-05-06T07:08:09.2Z stderr P wor\nld"))
	f.Add([]byte("no header\n\n\x00\xff\n"), []byte(""))
	f.Add([]byte("2024-05-06T07:08:09Z stdout X y\n2023-05-06T07:08:09Z portal F older\n"), []byte(" \n  \n"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		dir := t.TempDir()
		in := filepath.Join(dir, "a-r1-0")
		if err := os.MkdirAll(in, 0o700); err != nil {
			t.Fatal(err)
		}
		for i, b := range [][]byte{first, second} {
			if err := os.WriteFile(filepath.Join(in, fmt.Sprintf("%08d.log", i+1)), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		lines := read(t, dir, fleet.LogQuery{AgentID: "a"})
		if most := bytes.Count(first, []byte("\n")) + bytes.Count(second, []byte("\n")) + 2 + len(first)/segment.MaxLine; len(lines) > most {
			t.Fatalf("%d lines out of at most %d", len(lines), most)
		}
		for i, l := range lines {
			if strings.ContainsRune(l.Text, 0) || i > 0 && l.At.Before(lines[i-1].At) {
				t.Fatalf("line %d: %+v", i, l)
			}
		}
		if len(lines) > 0 {
			i := len(lines) / 2
			if rest := read(t, dir, fleet.LogQuery{AgentID: "a", After: lines[i].Cursor}); len(rest) != len(lines)-1-i {
				t.Fatalf("%d lines after number %d of %d", len(rest), i, len(lines))
			}
		}
		read(t, dir, fleet.LogQuery{AgentID: "a", Tail: 3, Since: time.Unix(1, 0)})
		if w, err := segment.Open(in, 2048, 3); err == nil {
			w.Note("still writable")
			w.Close()
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	line := []byte(strings.Repeat("x", 99) + "\n")
	block := bytes.Repeat(line, 10000)
	w := open(b, filepath.Join(b.TempDir(), "a-r1-0"), 8<<20, 4)
	b.SetBytes(int64(len(block)))
	b.ReportAllocs()
	for b.Loop() {
		w.Copy(bytes.NewReader(block), segment.Stdout)
	}
}

func TestTheOldestOutputIsRemovedAndNoneThatIsNeeded(t *testing.T) {
	dir := t.TempDir()
	begun := time.Now().Add(-time.Hour)
	for i := range 25 { // the first two are the oldest
		own := filepath.Join(dir, fmt.Sprintf("a-r%d-0", i))
		if err := os.Mkdir(own, 0o700); err != nil {
			t.Fatal(err)
		}
		at := begun.Add(time.Duration(i) * time.Minute)
		if err := os.Chtimes(own, at, at); err != nil {
			t.Fatal(err)
		}
	}
	segment.Prune(dir, func(instance string) bool { return instance == "a-r0-0" })
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 21 { // twenty that ended, and the one that is needed
		t.Fatalf("%d are left, %v", len(left), err)
	}
	for i, there := range map[int]bool{0: true, 1: false, 4: false, 5: true, 24: true} {
		if _, err := os.Stat(filepath.Join(dir, fmt.Sprintf("a-r%d-0", i))); (err == nil) != there {
			t.Errorf("number %d is there: %v, want %v", i, err == nil, there)
		}
	}
	segment.Prune(filepath.Join(dir, "not-there"), func(string) bool { return false })
}
