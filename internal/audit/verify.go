package audit

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
)

// Report is what Verify found.
type Report struct {
	OK      bool   `json:"ok"`
	Entries int64  `json:"entries"` // that were read and found right, from the first on
	Seq     int64  `json:"seq"`     // of the last right entry
	Hash    string `json:"hash"`    // of the last right entry; note it outside as an Anchor
	// FirstBad is the number of the first entry that is wrong or missing; 0 if OK.
	FirstBad int64  `json:"first_bad,omitempty"`
	Problem  string `json:"problem,omitempty"` // what is wrong with it
}

// Anchor is the number and hash of an entry as noted earlier, outside the
// store. Whoever can rewrite the whole store can also rewrite the whole chain;
// an anchor shows that too.
type Anchor struct {
	Seq  int64
	Hash string
}

var errBad = errors.New("audit: the chain is broken")

// Verify reads the whole chain and reports the first entry that was changed,
// removed (also from the end), added or moved. Entries that are appended
// meanwhile do no harm. The error is for a store that does not answer; a
// broken chain is a Report that is not OK.
func Verify(ctx context.Context, s Store, anchors ...Anchor) (Report, error) {
	head, err := headOf(ctx, s)
	if err != nil {
		return Report{}, err
	}
	c := &checker{prev: Origin, known: map[int64]string{}, wants: map[int64][]string{}}
	for _, a := range append(anchors, head) {
		if a.Seq > 0 {
			c.wants[a.Seq] = append(c.wants[a.Seq], a.Hash)
		}
	}
	if err := s.Walk(ctx, 1, c.entry); err != nil && !errors.Is(err, errBad) {
		return Report{}, fmt.Errorf("read the audit log: %w", err)
	}
	if c.bad == 0 {
		for seq := range c.wants {
			if seq > c.seq {
				_ = c.fail(c.seq+1, "entries %d to %d are missing at the end", c.seq+1, seq)
			}
		}
	}
	if c.bad == 0 {
		if err := c.tail(ctx, s); err != nil {
			return Report{}, err
		}
	}
	return c.report(), nil
}

func headOf(ctx context.Context, s Store) (Anchor, error) {
	seq, hash, err := s.Head(ctx)
	if err != nil {
		return Anchor{}, fmt.Errorf("read the end of the audit log: %w", err)
	}
	return Anchor{Seq: seq, Hash: hash}, nil
}

// checker follows the chain.
type checker struct {
	seq   int64 // of the last right entry
	prev  string
	bad   int64
	why   string
	known map[int64]string   // hashes of the latest entries, to compare with a later head
	wants map[int64][]string // number to the hashes that it must have
}

// recent is how many hashes are remembered while entries may be appended.
const recent = 4096

func (c *checker) entry(e Entry) error {
	want := c.seq + 1
	switch {
	case e.Seq > want && e.Seq == want+1:
		return c.fail(want, "entry %d is missing", want)
	case e.Seq > want:
		return c.fail(want, "entries %d to %d are missing", want, e.Seq-1)
	case e.Seq < want:
		return c.fail(want, "entry %d comes a second time where entry %d should be", e.Seq, want)
	case !same(HashOf(e), e.Hash):
		return c.fail(want, "entry %d was changed: its content does not match its hash", want)
	case !same(e.Prev, c.prev):
		return c.fail(want, "entry %d does not follow entry %d: entries were changed, moved or removed", want, c.seq)
	}
	for _, hash := range c.wants[e.Seq] {
		if !same(hash, e.Hash) {
			return c.fail(want, "entry %d is not the one that was noted: the chain was written anew", want)
		}
	}
	c.seq, c.prev = e.Seq, e.Hash
	c.known[e.Seq] = e.Hash
	delete(c.known, e.Seq-recent)
	return nil
}

// tail compares the end of what was read with the head as it is now: entries
// beyond it were not written by the portal.
func (c *checker) tail(ctx context.Context, s Store) error {
	head, err := headOf(ctx, s)
	if err != nil {
		return err
	}
	if c.seq > head.Seq {
		_ = c.fail(head.Seq+1, "entry %d was added behind the end of the chain", head.Seq+1)
	} else if hash, ok := c.known[head.Seq]; ok && !same(hash, head.Hash) {
		_ = c.fail(head.Seq, "entry %d is not the one that the chain should end with", head.Seq)
	}
	return nil
}

// fail notes what is wrong, and gives the error that ends the walk.
func (c *checker) fail(seq int64, why string, args ...any) error {
	c.bad, c.why = seq, fmt.Sprintf(why, args...)
	return errBad
}

func (c *checker) report() Report {
	return Report{OK: c.bad == 0, Entries: c.seq, Seq: c.seq, Hash: c.prev, FirstBad: c.bad, Problem: c.why}
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
