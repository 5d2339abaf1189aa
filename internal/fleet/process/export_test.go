package process

import "time"

// SetStopSlack shortens how long a hanging shim is waited for.
func SetStopSlack(d time.Duration) (undo func()) {
	old := stopSlack
	stopSlack = d
	return func() { stopSlack = old }
}
