package logdb

import "context"

// Sweep removes what is too much.
func Sweep(ctx context.Context, db *DB) { db.engine.(*embedded).sweep(ctx) }

// What a search becomes.
var (
	Selection   = selection
	CheckFilter = check
)
