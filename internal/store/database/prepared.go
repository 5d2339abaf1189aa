package database

import (
	"context"
	"database/sql/driver"
	"strconv"
	"strings"

	"modernc.org/sqlite"
)

// bun writes values into the text of a statement, so SQLite would parse and
// plan each one anew, which costs about as much as running it. A connection of
// this file takes the values out again and keeps what SQLite made of the text
// that is left. PostgreSQL does not need it: its driver would have to ask the
// server, and the server is quick at it.

const (
	// keptStatements is how many statements a connection keeps; a portal uses
	// fewer, unless somebody tries every filter of every list.
	keptStatements = 128
	// keptLength is the longest text that is kept. Longer ones have a list of
	// values of a length that hardly comes again.
	keptLength = 4 << 10
)

// connector opens connections that keep statements.
type connector struct {
	driver sqlite.Driver
	name   string
}

// Connect opens a connection.
func (c *connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.name)
	if err != nil {
		return nil, err
	}
	return &keeper{conn.(sqliteConn), map[string]driver.Stmt{}}, nil
}

// Driver gives the driver of SQLite.
func (c *connector) Driver() driver.Driver { return &c.driver }

// sqliteConn is what a connection of the driver can do.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// keeper is a connection that keeps statements. Like every connection of
// database/sql it is used by one goroutine at a time.
type keeper struct {
	sqliteConn
	// idle has the statements that are not running.
	idle map[string]driver.Stmt
}

// Close closes the statements and the connection.
func (k *keeper) Close() error {
	k.forget()
	return k.sqliteConn.Close()
}

// forget closes the statements. What closing could report, running has.
func (k *keeper) forget() {
	for text, stmt := range k.idle {
		_ = stmt.Close()
		delete(k.idle, text)
	}
}

// take gives the statement for the text, which nobody else gets until it is
// put back.
func (k *keeper) take(ctx context.Context, text string) (driver.Stmt, error) {
	if stmt, ok := k.idle[text]; ok {
		delete(k.idle, text)
		return stmt, nil
	}
	return k.PrepareContext(ctx, text)
}

func (k *keeper) put(text string, stmt driver.Stmt) {
	if len(k.idle) >= keptStatements {
		k.forget()
	}
	if twin, ok := k.idle[text]; ok { // they ran at the same time
		_ = twin.Close()
	}
	k.idle[text] = stmt
}

// ExecContext runs a statement that gives no rows.
func (k *keeper) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	text, values, ok := apart(query, args)
	if !ok {
		return k.sqliteConn.ExecContext(ctx, query, args)
	}
	stmt, err := k.take(ctx, text)
	if err != nil {
		return nil, err
	}
	defer k.put(text, stmt)
	return stmt.(driver.StmtExecContext).ExecContext(ctx, values)
}

// QueryContext runs a statement that gives rows.
func (k *keeper) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	text, values, ok := apart(query, args)
	if !ok {
		return k.sqliteConn.QueryContext(ctx, query, args)
	}
	stmt, err := k.take(ctx, text)
	if err != nil {
		return nil, err
	}
	rows, err := stmt.(driver.StmtQueryContext).QueryContext(ctx, values)
	if err != nil {
		k.put(text, stmt)
		return nil, err
	}
	return &keptRows{rows, k, text, stmt}, nil
}

// keptRows puts their statement back when they are closed.
type keptRows struct {
	driver.Rows
	k    *keeper
	text string
	stmt driver.Stmt
}

// Close ends the statement.
func (r *keptRows) Close() error {
	defer r.k.put(r.text, r.stmt)
	return r.Rows.Close()
}

// apart takes texts and numbers out of a statement that reads or changes rows,
// and leaves a question mark for each. Not ok is a statement to run as it is.
func apart(query string, args []driver.NamedValue) (text string, values []driver.NamedValue, ok bool) {
	if len(args) > 0 || !keepable(query) {
		return "", nil, false
	}
	var out strings.Builder
	out.Grow(len(query))
	values = make([]driver.NamedValue, 0, 8)
	done := 0 // what is before it is in out or in values
	take := func(from, to int, value driver.Value) {
		out.WriteString(query[done:from])
		out.WriteByte('?')
		values = append(values, driver.NamedValue{Ordinal: len(values) + 1, Value: value})
		done = to
	}
	for i := 0; i < len(query); {
		end := i + 1
		switch c := query[i]; {
		case c == '\'' || c == '"':
			if end = closing(query, i); end < 0 {
				return "", nil, false
			}
			blob := i > 0 && wordy(query[i-1]) // X'00'
			if c == '\'' && !blob {
				take(i, end, strings.ReplaceAll(query[i+1:end-1], "''", "'"))
			}
		case wordy(c):
			for end < len(query) && (wordy(query[end]) || query[end] == '.') {
				end++
			}
			// A number after a word is the limit of a list or a place in an order,
			// and the plan depends on it.
			if c <= '9' && afterSign(query[:i]) {
				if n, err := strconv.ParseInt(query[i:end], 10, 64); err == nil {
					take(i, end, n)
				}
			}
		case strings.IndexByte("?:@$;[`", c) >= 0, strings.HasPrefix(query[i:], "--"), strings.HasPrefix(query[i:], "/*"):
			return "", nil, false
		}
		i = end
	}
	out.WriteString(query[done:])
	text = out.String()
	return text, values, len(text) <= keptLength
}

// keepable tells whether a statement is of a kind that is kept.
func keepable(query string) bool {
	for _, word := range []string{"SELECT ", "INSERT ", "UPDATE ", "DELETE "} {
		if strings.HasPrefix(query, word) {
			return true
		}
	}
	return false
}

// closing gives the end of the text in quotes that begins at i, or -1.
func closing(query string, i int) int {
	quote := query[i]
	for end := i + 1; end < len(query); end++ {
		if query[end] != quote {
			continue
		}
		if end+1 == len(query) || query[end+1] != quote {
			return end + 1
		}
		end++
	}
	return -1
}

// afterSign tells whether what comes next stands after a comma, an operator or
// a parenthesis.
func afterSign(before string) bool {
	before = strings.TrimRight(before, " ")
	return before != "" && strings.IndexByte("(,=<>+-", before[len(before)-1]) >= 0
}

func wordy(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
