package segment

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet"
)

// Copy takes the output that an engine keeps of an instance into the files of a
// Writer, each line once: an engine that is asked again repeats lines that were taken
// before. Notes may come from anywhere; all else is called by one goroutine. The zero
// value is ready to be opened.
type Copy struct {
	w    atomic.Pointer[Writer]
	last time.Time // of the newest line, as the engine gave it
	same int       // lines that have this time

	from time.Time // what Begin found, lines of which come again
	skip int
}

// Open makes ready to write to the directory of an instance; fresh if it was not
// before.
func (c *Copy) Open(dir string, size int64, segments int) (fresh bool, err error) {
	if c.w.Load() != nil {
		return false, nil
	}
	w, err := Open(dir, size, segments)
	if err != nil {
		return false, err
	}
	c.w.Store(w)
	return true, nil
}

// Resume finds out what was taken before this program ran of something that has
// existed since, by the lines in the directory; false if nothing was.
func (c *Copy) Resume(dir string, since time.Time) bool {
	q := fleet.LogQuery{Instance: filepath.Base(dir), Tail: 100}
	var at time.Time
	_ = read(context.Background(), filepath.Dir(dir), q, func(l fleet.LogLine) error {
		if l.Stream != Portal {
			at = l.At
		}
		return nil
	})
	if at.IsZero() || at.Before(since) {
		return false
	}
	c.last, c.same = at, 1 // no two lines in the files have the same time
	return true
}

// Forget begins with the output of something else, of which nothing was taken.
func (c *Copy) Forget() { c.last, c.same = time.Time{}, 0 }

// Since gives from when on lines are needed; zero for all.
func (c *Copy) Since() time.Time { return c.last }

// Begin is called before the lines of each answer of the engine.
func (c *Copy) Begin() { c.from, c.skip = c.last, c.same }

// Line takes a line of the engine's answer, unless it was taken before.
func (c *Copy) Line(at time.Time, stream string, partial bool, text []byte) {
	switch {
	case at.Before(c.from):
		return
	case at.Equal(c.from) && c.skip > 0:
		c.skip--
		return
	case at.Equal(c.last):
		c.same++
	case at.After(c.last):
		c.last, c.same = at, 1
	}
	if w := c.w.Load(); w != nil {
		w.Line(at.UTC(), stream, partial, bytes.TrimSuffix(text, []byte{'\r'}))
	}
}

// Flush makes what was taken readable.
func (c *Copy) Flush() {
	if w := c.w.Load(); w != nil {
		w.Flush()
	}
}

// Note writes a line of the portal's own.
func (c *Copy) Note(text string) {
	if w := c.w.Load(); w != nil {
		w.Note("%s", text)
	}
}

// Ended is nil if the answer of an engine ended as it should.
func Ended(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// Close ends writing.
func (c *Copy) Close() {
	if w := c.w.Load(); w != nil {
		_ = w.Close()
	}
}
