package database

import (
	"database/sql"
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

// Micros is how a time is stored.
func Micros(t time.Time) int64 { return t.UnixMicro() }

// Moment is the time that was stored.
func Moment(us int64) time.Time { return time.UnixMicro(us).UTC() }

// MicrosOf is Micros for a time that may not be there.
func MicrosOf(t *time.Time) *int64 {
	if t == nil {
		return nil
	}
	us := Micros(*t)
	return &us
}

// MomentOf is Moment for a time that may not be there.
func MomentOf(us *int64) *time.Time {
	if us == nil {
		return nil
	}
	t := Moment(*us)
	return &t
}

// Encode writes a value as JSON. What is stored holds nothing that JSON can't
// express, except what an operator put into a spec's free fields.
func Encode(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", v, err)
	}
	return string(data), nil
}

// EncodeOptional is Encode that writes "" for nil.
func EncodeOptional[T any](v *T) (string, error) {
	if v == nil {
		return "", nil
	}
	return Encode(v)
}

// Decode reads what Encode wrote.
func Decode(text string, into any) error {
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("decode %T: %w", into, err)
	}
	return nil
}

// DecodeOptional gives nil for "".
func DecodeOptional[T any](text string) (*T, error) {
	if text == "" {
		return nil, nil
	}
	v := new(T)
	return v, Decode(text, v)
}

// Raw gives stored JSON as it is, and nil for "".
func Raw(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}

// Clean drops what a text column cannot hold: NUL, and bytes that are not UTF-8.
func Clean(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "")
}

// Present makes a value of nil, which a column may not be.
func Present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// PruneBatch is how many rows are removed in one transaction, so that
// pruning never holds up other writes for long.
const PruneBatch = 2000

const (
	defaultLimit = 100
	// MaxLimit is how many rows a page has at most.
	MaxLimit = 1000
)

// Bounded gives the number of rows of a page.
func Bounded(limit int) int {
	if limit <= 0 {
		return defaultLimit
	}
	return min(limit, MaxLimit)
}

// Cursor is the last row of a page: what it was sorted by, and its id. List
// names the list and its order, so that a cursor of another one is refused.
type Cursor struct {
	List string `json:"l"`
	Text string `json:"t,omitempty"`
	Num  int64  `json:"n,omitempty"`
	ID   string `json:"i,omitempty"`
}

func (c Cursor) String() string {
	data, err := json.Marshal(c)
	if err != nil {
		panic("store: Cursor does not encode: " + err.Error()) // it holds strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// ParseCursor reads a cursor of the list; nil for "".
func ParseCursor(list, s string) (*Cursor, error) {
	if s == "" {
		return nil, nil
	}
	var c Cursor
	data, err := base64.RawURLEncoding.DecodeString(s)
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err != nil || c.List != list {
		return nil, fault.New(fault.Invalid, "store.bad_cursor", "The Cursor does not belong to this list").
			At(fault.Field{Path: "cursor", Message: "must be the one that this list gave, with the same sort"}).
			Do("Start again without a cursor.")
	}
	return &c, nil
}

// NewestFirst orders a list by a time and an id, and goes on after the cursor.
func NewestFirst(q *bun.SelectQuery, c *Cursor, at string) *bun.SelectQuery {
	if c != nil {
		q = q.Where("(?, id) < (?, ?)", bun.Ident(at), c.Num, c.ID)
	}
	return q.OrderExpr("? DESC, id DESC", bun.Ident(at))
}

// Cut takes the row too many off that told there is a next page, and gives the
// Cursor after the last one that stays.
func Cut[T any](rows []T, limit int, after func(T) Cursor) ([]T, string) {
	if len(rows) <= limit {
		return rows, ""
	}
	rows = rows[:limit]
	return rows, after(rows[limit-1]).String()
}

// Fold makes ids, names and searches meet whatever their case. Go does it, for
// the two databases do not agree on it.
func Fold(s string) string { return strings.ToLower(Clean(s)) }

// Affected gives the number of rows that a statement changed.
func Affected(res sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}
