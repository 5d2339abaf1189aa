package event

import (
	"slices"
	"strings"
)

// Matches tells whether a type is the one that the pattern names, or begins as
// it does if it ends in an asterisk: "agent:*".
func Matches(pattern string, t Type) bool {
	if start, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(string(t), start)
	}
	return pattern == string(t)
}

// Confidential tells whether only the audit room hears of the event; as there,
// it is for administrators.
func Confidential(e Event) bool {
	return len(e.Rooms) > 0 && !slices.ContainsFunc(e.Rooms, func(r string) bool { return r != RoomAudit })
}
