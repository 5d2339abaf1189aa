package audit

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Format is how an export is written.
type Format string

// The formats.
const (
	JSONLines Format = "jsonl" // one Entry as JSON a line
	CSV       Format = "csv"   // with a header line, cells safe for spreadsheets
)

// page is how many entries are read at once. Between pages no transaction is
// open, so that a slow reader of the export holds nothing up.
const page = 500

// Export writes every entry that the query selects, newest first, as it reads
// them. Query's Limit and Cursor do not count. It returns a fault of kind
// Invalid for an unknown format, before anything is written.
func Export(ctx context.Context, s Store, q Query, format Format, w io.Writer) error {
	out := bufio.NewWriter(w)
	var put func(Entry) error
	switch format {
	case JSONLines:
		enc := json.NewEncoder(out)
		put = func(e Entry) error { return enc.Encode(e) }
	case CSV:
		put = csvRows(out)
	default:
		return fault.New(fault.Invalid, "audit.format", "There is no export format %q", format).
			Do("Use jsonl or csv.").At(fault.Field{Path: "format", Message: "must be jsonl or csv"})
	}
	q.Limit, q.Cursor = page, ""
	for {
		list, next, err := s.Find(ctx, q)
		if err != nil {
			return fmt.Errorf("read the audit log: %w", err)
		}
		for _, e := range list {
			if err := put(e); err != nil {
				return fmt.Errorf("write the export: %w", err)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write the export: %w", err)
		}
		if next == "" {
			return nil
		}
		q.Cursor = next
	}
}

// csvRows writes the header and gives the function that writes a row.
func csvRows(w io.Writer) func(Entry) error {
	c := csv.NewWriter(w)
	row := func(cells ...string) error {
		for i := range cells {
			cells[i] = Cell(cells[i])
		}
		if err := c.Write(cells); err != nil {
			return err
		}
		c.Flush()
		return c.Error()
	}
	err := row("seq", "at", "actor", "role", "from", "action", "target", "outcome", "reason", "request", "before", "after", "prev", "hash")
	return func(e Entry) error {
		if err != nil {
			return err
		}
		return row(strconv.FormatInt(e.Seq, 10), stamp(e.At).Format(time.RFC3339Nano), e.Actor, e.Role, e.From, e.Action,
			e.Target, string(e.Outcome), e.Reason, e.Request, string(e.Before), string(e.After), e.Prev, e.Hash)
	}
}

// Cell makes a text safe for a spreadsheet: what would be read as a formula
// gets an apostrophe in front.
func Cell(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n|%", rune(s[0])) {
		return "'" + s
	}
	return s
}
