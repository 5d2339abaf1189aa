package live

import (
	"strings"

	"github.com/waooaw/platform-portal/internal/auth"
	"github.com/waooaw/platform-portal/internal/event"
	"github.com/waooaw/platform-portal/internal/fault"
)

// How many rooms one connection may be in.
const (
	maxRooms = 100 // of events
	maxViews = 600 // of states
)

// Access is one row of the table of rooms.
type Access struct {
	// Room is the name, or what it starts with if it ends in a colon; an id follows then.
	Room string
	Role auth.Role
}

// Rooms says which rooms there are and who may listen. What is not listed does
// not exist.
var Rooms = []Access{
	{event.RoomAgents, auth.Viewer},
	{"agent:", auth.Viewer},
	{event.RoomOperations, auth.Viewer},
	{"operation:", auth.Viewer},
	{"bulk:", auth.Viewer},
	{event.RoomQueues, auth.Viewer},
	{event.RoomAlerts, auth.Viewer},
	{event.RoomAudit, auth.Admin},
	{event.RoomErrors, auth.Viewer},
	{event.RoomDiagnostics, auth.Viewer},

	{"view:agent:", auth.Viewer},
	{"view:detail:", auth.Viewer},
	{"view:fleet", auth.Viewer},
	{"view:operation:", auth.Viewer},
	{"view:bulk:", auth.Viewer},
	{"view:pulse:" + event.RoomAgents, auth.Viewer},
	{"view:pulse:agent:", auth.Viewer},
	{"view:pulse:" + event.RoomOperations, auth.Viewer},
	{"view:pulse:operation:", auth.Viewer},
	{"view:pulse:bulk:", auth.Viewer},
	{"view:pulse:" + event.RoomQueues, auth.Viewer},
	{"view:pulse:" + event.RoomAlerts, auth.Viewer},
	{"view:pulse:" + event.RoomAudit, auth.Admin},
	{"view:pulse:" + event.RoomErrors, auth.Viewer},
	{"view:pulse:" + event.RoomDiagnostics, auth.Viewer},
}

// splitRooms reads "a,b" or repeated values into a list without doubles.
func splitRooms(values []string) []string {
	var out []string
	seen := map[string]bool{}
	for _, v := range values {
		for room := range strings.SplitSeq(v, ",") {
			if room = strings.TrimSpace(room); room != "" && !seen[room] {
				seen[room] = true
				out = append(out, room)
				if len(out) > maxRooms+maxViews {
					return out
				}
			}
		}
	}
	return out
}

// authorise checks the rooms that a principal wants to be in: Invalid for an
// unknown room or too many, Forbidden for one that the role does not allow.
func authorise(role auth.Role, rooms []string) error {
	if len(rooms) == 0 {
		return fault.New(fault.Invalid, "live.no_room", "No room was named").
			Do("Name rooms, e.g. rooms=agents,operations").At(fault.Field{Path: "rooms", Message: "is missing"})
	}
	if err := tooMany(rooms); err != nil {
		return err
	}
	for _, room := range rooms {
		need, ok := roleOf(room)
		if !ok {
			return fault.New(fault.Invalid, "live.unknown_room", "There is no such room").
				Do("Rooms are agents, agent:ID, operations, operation:ID, bulk:ID, queues, alerts, audit and diagnostics; with view: before it agent:ID, detail:ID, fleet, operation:ID and bulk:ID, and with view:pulse: every room.").
				At(fault.Field{Path: "rooms", Message: "names an unknown room: " + shorten(room)})
		}
		if !role.Includes(need) {
			return fault.New(fault.Forbidden, "live.room_refused", "You may not listen to the room %s", shorten(room)).
				Because("it needs the role %s", need)
		}
	}
	return nil
}

// tooMany is why one connection can't be in all these rooms; nil if it can.
func tooMany(rooms []string) error {
	views := 0
	for _, room := range rooms {
		if strings.HasPrefix(room, prefixView) {
			views++
		}
	}
	if views <= maxViews && len(rooms)-views <= maxRooms {
		return nil
	}
	return fault.New(fault.Invalid, "live.too_many_rooms", "A connection can be in %d rooms and %d view rooms at most", maxRooms, maxViews).
		Do("Open the room agents, which hears of every agent.")
}

func roleOf(room string) (auth.Role, bool) {
	for _, row := range Rooms {
		if !strings.HasSuffix(row.Room, ":") {
			if room == row.Room {
				return row.Role, true
			}
			continue
		}
		if id, ok := strings.CutPrefix(room, row.Room); ok && validID(id) {
			return row.Role, true
		}
	}
	return auth.Nobody, false
}

func validID(id string) bool {
	if id == "" || len(id) > 200 {
		return false
	}
	return !strings.ContainsFunc(id, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-_.", r)
	})
}

// shorten keeps what a client sent from filling answers.
func shorten(s string) string {
	if len(s) > 60 {
		s = s[:60] + "…"
	}
	return strings.ToValidUTF8(s, "")
}
