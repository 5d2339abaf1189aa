package logdb

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/VictoriaMetrics/VictoriaLogs/lib/logstorage"

	"github.com/waooaw/platform-portal/internal/logs"
)

// The names under which entries are stored. The first three make the stream: few
// values each, so that the storage keeps what one instance wrote together.
const (
	fieldAgent    = "agent"
	fieldInstance = "instance"
	fieldStream   = "stream"
	fieldLevel    = "level"
	fieldRaw      = "raw"
	fieldLines    = "lines"
	fieldCut      = "cut_bytes"
	fieldAll      = "fields" // what the agent's fields say, to be searched
	fieldText     = "_msg"
	fieldTime     = "_time"

	streamFields = 3
	// own stands before the name of an agent's field that is one of these.
	own = "field."
)

func reserved(name string) bool {
	switch name {
	case fieldAgent, fieldInstance, fieldStream, fieldLevel, fieldRaw, fieldLines, fieldCut, fieldAll:
		return true
	}
	return strings.HasPrefix(name, "_") || strings.HasPrefix(name, own)
}

// fieldsOf appends the fields of an entry, those of the stream first.
func fieldsOf(dst []logstorage.Field, e *logs.Entry) []logstorage.Field {
	dst = append(dst, logstorage.Field{Name: fieldAgent, Value: e.AgentID}, logstorage.Field{Name: fieldInstance, Value: e.Instance},
		logstorage.Field{Name: fieldStream, Value: e.Stream}, logstorage.Field{Name: fieldText, Value: e.Text})
	add := func(name, value string) {
		if value != "" {
			dst = append(dst, logstorage.Field{Name: name, Value: value})
		}
	}
	add(fieldLevel, string(e.Level))
	add(fieldRaw, e.Raw)
	if e.Lines > 1 {
		add(fieldLines, strconv.Itoa(e.Lines))
	}
	if e.Cut > 0 {
		add(fieldCut, strconv.FormatInt(e.Cut, 10))
	}
	var all strings.Builder
	for _, name := range slices.Sorted(maps.Keys(e.Fields)) {
		value := e.Fields[name]
		if all.Len() > 0 {
			all.WriteByte(' ')
		}
		all.WriteString(name + "=" + value)
		if reserved(name) {
			name = own + name
		}
		add(name, value)
	}
	add(fieldAll, all.String())
	return dst
}

// entryOf makes an entry of what is stored.
func entryOf(each func(func(name, value string))) logs.Entry {
	var e logs.Entry
	each(func(name, value string) {
		if value == "" {
			return
		}
		switch name {
		case fieldTime:
			e.At, _ = time.Parse(time.RFC3339Nano, value)
		case fieldText:
			e.Text = value
		case fieldAgent:
			e.AgentID = value
		case fieldInstance:
			e.Instance = value
		case fieldStream:
			e.Stream = value
		case fieldLevel:
			e.Level = logs.Level(value)
		case fieldRaw:
			e.Raw = value
		case fieldLines:
			e.Lines, _ = strconv.Atoi(value)
		case fieldCut:
			e.Cut, _ = strconv.ParseInt(value, 10, 64)
		case "_stream", "_stream_id", fieldAll:
		default:
			if e.Fields == nil {
				e.Fields = map[string]string{}
			}
			e.Fields[strings.TrimPrefix(name, own)] = value
		}
	})
	return e
}
