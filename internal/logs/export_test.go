package logs

import "time"

// Gather makes entries of lines.
func Gather(agentID string, lines []Line, more bool, now time.Time) ([]Entry, int) {
	return gather(agentID, lines, more, now)
}
