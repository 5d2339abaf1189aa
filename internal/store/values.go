package store

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/uptrace/bun"

	"github.com/waooaw/platform-portal/internal/fault"
)

// Times are stored as microseconds since 1970, so that they come back from
// both databases exactly as they went in, cut to microseconds.

func micros(t time.Time) int64 { return t.UnixMicro() }

func moment(us int64) time.Time { return time.UnixMicro(us).UTC() }

func microsOf(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	us := micros(*t)
	return &us
}

func momentOf(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := moment(*us)
	return &t
}

// encode writes a value as JSON. What is stored holds nothing that JSON can't
// express, except what an operator put into a spec's free fields.
func encode(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", v, err)
	}
	return string(data), nil
}

// encodeOptional is encode that writes "" for nil.
func encodeOptional[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	return encode(v)
}

func decode(text string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	return nil
}

// decodeOptional gives nil for "".
func decodeOptional[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil
	}
	v := new(T)
	return v, decode(text, v)
}

func raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// clean drops what a text column cannot hold: NUL, and bytes that are not UTF-8.
func clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// present makes a value of nil, which a column may not be.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

// bounded gives the number of rows of a page.
func bounded(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, maxLimit)
}

// cursor is the last row of a page: what it was sorted by, and its id. List
// names the list and its order, so that a cursor of another one is refused.
type cursor struct {
	List string `json:"l"`
	Text string `json:"t,omitempty"`
	Num  int64  `json:"n,omitempty"`
	ID   string `json:"i,omitempty"`
}

func (c cursor) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		panic("store: cursor does not encode: " + err.Error()) // it holds strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// parseCursor reads a cursor of the list; nil for "".
func parseCursor(list, s string) (*cursor, error) {
	if s == "" {
		return nil, nil
	}
	var c cursor
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil || c.List != list {
		return nil, fault.New(fault.Invalid, "store.bad_cursor", "The cursor does not belong to this list").
			At(fault.Field{Path: "cursor", Message: "must be the one that this list gave, with the same sort"}).
			Do("Start again without a cursor.")
	}
	return &c, nil
}

// newestFirst orders a list by a time and an id, and goes on after the cursor.
func newestFirst(q *bun.SelectQuery, c *cursor, at string) *bun.SelectQuery {
	if c != nil {
		q = q.Where("(?, id) < (?, ?)", bun.Ident(at), c.Num, c.ID)
	}
	return q.OrderExpr("? DESC, id DESC", bun.Ident(at))
}

// cut takes the row too many off that told there is a next page, and gives the
// cursor after the last one that stays.
func cut[T any](rows []T, limit int, after func(T) cursor) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, after(rows[limit-1]).String()
}
