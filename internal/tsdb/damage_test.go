package tsdb_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/metrics"
	"github.com/waooaw/platform-portal/internal/tsdb"
)

// history keeps samples of 16 hours, of which the older ones are in finished
// blocks, and stops.
func history(t *testing.T, dir string, now time.Time) {
	t.Helper()
	db := opened(t, tsdb.Config{Dir: dir})
	for ago := 16 * time.Hour; ago >= 0; ago -= 10 * time.Minute {
		put(t, db, now.Add(-ago), ago.Hours())
	}
	if _, ok := value(t, db, "n", now); !ok {
		t.Fatal("nothing was kept")
	}
	if err := db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, db)
}

// damage writes nonsense into the files that fit.
func damage(t *testing.T, pattern string) int {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.IsDir() {
			continue
		}
		if err := os.WriteFile(f, []byte(strings.Repeat("these are not the bytes ", 2000)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return len(files)
}

// A damaged part costs what it held, not the rest and not the start.
func TestDamagedPartsArePutAside(t *testing.T) {
	now := time.Now()
	whole := filepath.Join(t.TempDir(), "tsdb")
	history(t, whole, now)
	blocks := func(dir string) []string {
		found, err := filepath.Glob(filepath.Join(dir, "01*"))
		if err != nil || len(found) < 3 {
			t.Fatalf("%d blocks, %v", len(found), err)
		}
		return found
	}
	for what, c := range map[string]struct {
		harm       func(dir string) int
		moved      string
		old, young bool // what is left
	}{
		"index of a block":  {func(d string) int { return damage(t, filepath.Join(blocks(d)[0], "index")) }, "-01", false, true},
		"meta of a block":   {func(d string) int { return damage(t, filepath.Join(blocks(d)[0], "meta.json")) }, "-01", false, true},
		"chunks of a block": {func(d string) int { return damage(t, filepath.Join(blocks(d)[0], "chunks", "*")) }, "-01", false, true},
		"write-ahead log":   {func(d string) int { return damage(t, filepath.Join(d, "wal", "0*")) }, "", true, false},
		"snapshot":          {func(d string) int { return damage(t, filepath.Join(d, "chunk_snapshot*", "*")) }, "", true, true},
		"mapped chunks": {func(d string) int {
			if err := os.WriteFile(filepath.Join(d, "chunks_head", "000001"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return damage(t, filepath.Join(d, "chunks_head", "*"))
		}, "", true, true},
		"everything at once": {func(d string) int {
			return damage(t, filepath.Join(d, "*", "*")) + damage(t, filepath.Join(d, "*", "*", "*"))
		}, "-", false, false},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tsdb")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			first := blocks(dir)[0]
			if n := c.harm(dir); n == 0 {
				t.Fatal("there is no such file")
			}
			log := &journal{}
			db := opened(t, tsdb.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
			put(t, db, now.Add(time.Second), 42)
			if v, ok := value(t, db, "n", now.Add(2*time.Second)); !ok || v != 42 {
				t.Errorf("what is new is not kept: %v, %v\n%s", v, ok, log)
			}
			if _, ok := value(t, db, "n", now.Add(-8*time.Hour)); ok != c.old && what == "everything at once" {
				t.Errorf("what is old: %v, want %v\n%s", ok, c.old, log)
			}
			if _, ok := value(t, db, "n", now.Add(-10*time.Minute)); ok != c.young && what != "write-ahead log" {
				t.Errorf("what is young: %v, want %v\n%s", ok, c.young, log)
			}
			aside, _ := filepath.Glob(dir + ".damaged/*" + c.moved + "*")
			if c.moved != "" && (len(aside) == 0 || !strings.Contains(log.String(), "put aside")) {
				t.Errorf("%s was damaged, and aside are %v\n%s", first, aside, log)
			}
		})
	}
}

// What a query finds damaged is left out and named, and everything else is answered.
func TestQueriesGoOnBesideDamage(t *testing.T) {
	now := time.Now()
	whole := filepath.Join(t.TempDir(), "tsdb")
	db := opened(t, tsdb.Config{Dir: whole})
	for ago := 16 * time.Hour; ago >= 0; ago -= 10 * time.Minute {
		put(t, db, now.Add(-ago), ago.Hours())
		other := metrics.Sample{Labels: map[string]string{metrics.LabelName: "n", "agent": "b"}, At: now.Add(-ago), Value: 1}
		if err := db.Append(t.Context(), []metrics.Sample{other}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop(t, db)
	for what, c := range map[string]struct {
		harm func(file string) error
		file string
		all  bool // every series of the part is lost
	}{
		"one chunk":       {func(f string) error { return scribble(f, 20) }, "chunks/000001", false},
		"file is shorter": {func(f string) error { return os.Truncate(f, 0) }, "chunks/000001", true},
		"index":           {func(f string) error { return scribbleAll(f) }, "index", true},
	} {
		t.Run(what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tsdb")
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			log := &journal{}
			db := opened(t, tsdb.Config{Dir: dir, Log: slog.New(slog.NewTextHandler(log, nil))})
			if _, ok := value(t, db, "n", now); !ok {
				t.Fatal("nothing is kept")
			}
			blocks, err := filepath.Glob(filepath.Join(dir, "01*"))
			if err != nil || len(blocks) < 3 {
				t.Fatalf("%d blocks, %v", len(blocks), err)
			}
			if err := c.harm(filepath.Join(blocks[1], c.file)); err != nil {
				t.Fatal(err)
			}
			r, err := db.Range(t.Context(), "count_over_time(n[17h])", metrics.Range{Start: now, End: now.Add(time.Second), Step: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			counts := map[string]float64{}
			for _, s := range r.Series {
				counts[s.Labels["agent"]] = s.Points[0].Value
			}
			if counts["a"] < 60 || counts["a"] >= 97 || (counts["b"] >= 97) == c.all {
				t.Errorf("of 97 values each there are %v", counts)
			}
			name := filepath.Base(blocks[1])
			if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], name) || !strings.Contains(r.Warnings[0], "damaged") {
				t.Errorf("warnings: %q", r.Warnings)
			}
			if strings.Count(log.String(), "can't be read in full") != 1 || !strings.Contains(log.String(), name) {
				t.Errorf("the log says:\n%s", log)
			}
			if r, err := db.Instant(t.Context(), "n", now); err != nil || len(r.Warnings) != 0 || len(r.Series) != 2 {
				t.Errorf("a query of another time: %v, %v", r, err)
			}
			names, err := db.LabelValues(t.Context(), "agent", metrics.Selection{Start: now.Add(-17 * time.Hour), End: now})
			if err != nil || len(names) != 2 {
				t.Errorf("values of a label: %v, %v", names, err)
			}
		})
	}
}

// scribble changes one byte of a file that others have open.
func scribble(file string, at int64) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{^b[0]}, at)
	return err
}

// scribbleAll changes all of it, and leaves its size.
func scribbleAll(file string) error {
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteAt([]byte(strings.Repeat("\xa7", int(info.Size()))), 0)
	return err
}

func TestWhatIsOldOrTooMuchIsRemoved(t *testing.T) {
	now := time.Now()
	dir := filepath.Join(t.TempDir(), "tsdb")
	history(t, dir, now)
	for what, cfg := range map[string]tsdb.Config{
		"by age":  {Dir: dir, Keep: 6 * time.Hour},
		"by size": {Dir: dir, MaxBytes: 1},
	} {
		db := opened(t, cfg)
		if _, ok := value(t, db, "n", now.Add(-15*time.Hour)); ok {
			t.Errorf("%s: what was to be removed is there", what)
		}
		if _, ok := value(t, db, "n", now); !ok {
			t.Errorf("%s: the newest was removed", what)
		}
		stop(t, db)
	}
}

const childEnv = "TSDB_TEST_CHILD"

// TestMain is also the program that is killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	db := tsdb.New(tsdb.Config{Dir: dir, Log: slog.New(slog.DiscardHandler)})
	ctx := context.Background()
	if err := db.Start(ctx); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	start := time.Now().Add(-time.Hour)
	_, _ = db.Instant(ctx, "1", start) // waits until it is open
	for i := 0; ; i++ {
		s := metrics.Sample{Labels: map[string]string{metrics.LabelName: "n"}, At: start.Add(time.Duration(i) * time.Millisecond), Value: float64(i)}
		if err := db.Append(ctx, []metrics.Sample{s}); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

// What was taken survives kill -9, whenever it comes.
func TestKilledPrograms(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tsdb")
	for _, after := range []int{1, 500, 3000} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		last, started := -1, time.Now()
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			n, err := strconv.Atoi(lines.Text())
			if err != nil {
				t.Fatal(lines.Text())
			}
			if last = n; last == after {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
		db := opened(t, tsdb.Config{Dir: dir})
		if v, ok := value(t, db, "max_over_time(n[2h])", time.Now()); !ok || int(v) < after {
			t.Errorf("killed after %d of the samples that were taken since %v, it has %v, %v", last, started, v, ok)
		}
		stop(t, db)
	}
}
