package database

import (
	"fmt"
	"strings"
	"testing"
)

// TestApart holds statements to what is left of them without their values.
func TestApart(t *testing.T) {
	for query, want := range map[string]string{
		`SELECT "a"."id" FROM "agents" AS "a" WHERE (id = 'x''y') AND (n = -12) LIMIT 101`: `SELECT "a"."id" FROM "agents" AS "a" WHERE (id = ?) AND (n = -?) LIMIT 101 [x'y 12]`,
		`INSERT INTO t1 ("a", b2) VALUES ('', 7), (X'00ff', 1.5)`:                          `INSERT INTO t1 ("a", b2) VALUES (?, ?), (X'00ff', 1.5) [ 7]`,
		`UPDATE t SET n = n + 3, s = 'it''s; -- ? /*' WHERE id IN ('a', 'b')`:              `UPDATE t SET n = n + ?, s = ? WHERE id IN (?, ?) [3 it's; -- ? /* a b]`,
		`DELETE FROM t WHERE n < 18446744073709551615 ORDER BY 1`:                          `DELETE FROM t WHERE n < 18446744073709551615 ORDER BY 1 []`,
		`SELECT CASE WHEN a = 'x' THEN 0 ELSE 1 END, "it's 'x'"`:                           `SELECT CASE WHEN a = ? THEN 0 ELSE 1 END, "it's 'x'" [x]`,
		`SELECT 1; SELECT 2`:                          "as it is",
		`SELECT ?1`:                                   "as it is",
		`SELECT 1 -- 'x'`:                             "as it is",
		`SELECT 1 /* ' */`:                            "as it is",
		`SELECT 'open`:                                "as it is",
		`PRAGMA busy_timeout = 20`:                    "as it is",
		`CREATE TABLE t (a TEXT DEFAULT '')`:          "as it is",
		`SELECT ` + strings.Repeat("a, ", 5000) + "a": "as it is",
	} {
		got := "as it is"
		if text, named, ok := apart(query, nil); ok {
			values := make([]any, len(named))
			for i, v := range named {
				values[i] = v.Value
			}
			got = fmt.Sprint(text, " ", values)
		}
		if got != want {
			t.Errorf("%.100s\n got %s\nwant %s", query, got, want)
		}
	}
}
