package live

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/waooaw/platform-portal/internal/event"
)

// frame is one event, encoded once for everybody.
type frame struct {
	seq   int64
	kind  string // type of the event
	rooms []string
	json  []byte // the message of the contract
	sse   []byte // the same as a server-sent event; nil if it is to be made of json
}

// message is what clients get.
type message struct {
	ID    string          `json:"id,omitempty"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data,omitempty"`
}

// Messages that are not events of the log.
const (
	eventReset        = "reset"         // events were missed: load everything anew
	eventHeartbeat    = "heartbeat"     // nothing happened; id is where the stream is
	eventSubscribed   = "subscribed"    // answer to subscribe and unsubscribe
	eventError        = "error"         // answer to a message that can't be followed
	eventView         = "view"          // how things are shown now
	eventRetry        = "retry"         // the connection ends: come back after so many milliseconds
	resetTooOld       = "too_old"       // the events after since are not kept any more
	resetUnknownPlace = "unknown_since" // since is not a place in this stream
)

// encode makes the frame of an event.
func encode(e event.Event) (*frame, error) {
	id := strconv.FormatInt(e.Seq, 10)
	body, err := json.Marshal(message{ID: id, Event: string(e.Type), Data: e.Data})
	if err != nil {
		return nil, err
	}
	return &frame{seq: e.Seq, kind: string(e.Type), rooms: e.Rooms, json: body, sse: sse(id, string(e.Type), body)}, nil
}

// notice makes the frame of a message that is not an event of the log. seq is
// the place of the stream it stands for, -1 for none.
func notice(seq int64, name string, data any) *frame {
	m := message{Event: name}
	if seq >= 0 {
		m.ID = strconv.FormatInt(seq, 10)
	}
	if data != nil {
		m.Data, _ = json.Marshal(data) // maps and slices of strings and numbers only: can't fail
	}
	body, _ := json.Marshal(m)
	return &frame{seq: seq, json: body, sse: sse(m.ID, name, body)}
}

// retryNotice tells a client to come back after a while.
func retryNotice(after time.Duration) *frame {
	f := notice(-1, eventRetry, map[string]int64{"after_ms": after.Milliseconds()})
	f.sse = append(fmt.Appendf(nil, "retry: %d\n", after.Milliseconds()), f.sse...)
	return f
}

// stream gives the frame as a server-sent event.
func (f *frame) stream() []byte {
	if f.sse != nil {
		return f.sse
	}
	return sse("", eventView, f.json)
}

func sse(id, name string, body []byte) []byte {
	out := make([]byte, 0, len(body)+len(name)+40)
	if id != "" {
		out = append(append(append(out, "id: "...), id...), '\n')
	}
	out = append(append(append(out, "event: "...), name...), '\n')
	return append(append(append(out, "data: "...), body...), "\n\n"...)
}
