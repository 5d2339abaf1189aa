package portal

import (
	"os"
	"path/filepath"

	"github.com/waooaw/platform-portal/internal/fault"
)

// emptied refuses a database file without content where a portal has worked
// before. A start with it would look like a new and empty portal, while agents
// of the lost one run on with nobody to watch them.
func emptied(dir string) error {
	path := filepath.Join(dir, "portal.db")
	db, err := os.Stat(path)
	if err != nil || db.Size() > 0 {
		return nil //nolint:nilerr // not there: new; anything else is the store's to judge
	}
	// The engine's file is only made after the database has its tables.
	memory, err := os.Stat(filepath.Join(dir, "engine.db"))
	if err != nil || memory.Size() == 0 {
		return nil //nolint:nilerr // no portal got that far here
	}
	return fault.New(fault.Unavailable, "data.database_emptied", "The database %s is damaged", path).
		Because("it is empty, although a portal has worked in %s before", dir).
		Do("Put the file back from a backup. To begin anew instead, end the agents that still run and use another directory with --data.")
}
