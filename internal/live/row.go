package live

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
)

// maxView is about how many bytes of rows go into one message.
const maxView = 64 << 10

// row is what somebody looks at. Guarded by Hub.mu; only the loop of show
// changes cells and known.
type row struct {
	room    string // prefixView and the key
	key     string
	clients map[*client]bool           // whether it has got the row
	cells   map[string]json.RawMessage // as they were given out last; nil if there is no such thing
	known   bool                       // cells have been looked up
	dirty   bool                       // they may have changed
	fresh   bool                       // some client has not got the row
	pulse   map[string]json.RawMessage // the newest event of each type, for keys that begin with pulse
	due     time.Time                  // not to be looked up before
}

// parcel is what goes out of one row in one round.
type parcel struct {
	row    *row
	whole  []byte // for those who have not got the row
	change []byte // for those who have; nil if nothing changed
}

// pack takes over the cells, and encodes what is new in them.
func (r *row) pack(cells map[string]json.RawMessage, whole bool) parcel {
	p := parcel{row: r}
	if r.known {
		p.change = r.difference(cells)
	}
	r.cells, r.known = cells, true
	if whole {
		p.whole = r.encode(cells)
	}
	return p
}

// difference encodes the cells that are not as they were; nil if all are.
func (r *row) difference(cells map[string]json.RawMessage) []byte {
	if cells == nil || r.cells == nil {
		if cells == nil && r.cells == nil {
			return nil
		}
		return r.encode(cells)
	}
	changed := map[string]json.RawMessage{}
	for name, c := range cells {
		if old, ok := r.cells[name]; !ok || !bytes.Equal(old, c) {
			changed[name] = c
		}
	}
	for name := range r.cells {
		if _, ok := cells[name]; !ok {
			changed[name] = json.RawMessage("null")
		}
	}
	if len(changed) == 0 {
		return nil
	}
	return r.encode(changed)
}

// encode gives "key":{"cell":…,…}, or "key":null if there is no such thing.
func (r *row) encode(cells map[string]json.RawMessage) []byte {
	out := append(strconv.AppendQuote(nil, r.key), ':') // keys are letters, digits and -_.: only
	if cells == nil {
		return append(out, "null"...)
	}
	out = append(out, '{')
	for i, name := range slices.Sorted(maps.Keys(cells)) {
		if i > 0 {
			out = append(out, ',')
		}
		quoted, _ := json.Marshal(name) // a string: can't fail
		out = append(append(append(out, quoted...), ':'), cells[name]...)
	}
	return append(out, '}')
}

// part names what a client gets of the parcels of one round: the whole of parcel n
// is 2n, its change is 2n+1. Thousands of clients have lists of them.
type part uint32

func (p part) of(parcels []parcel) []byte {
	if p%2 == 0 {
		return parcels[p/2].whole
	}
	return parcels[p/2].change
}

// views are messages that several clients may get.
type views struct {
	parts  []part
	frames []*frame
}

// viewFrames puts the rows into as few messages as they fit.
func viewFrames(parcels []parcel, parts []part) []*frame {
	const head, tail = `{"event":"` + eventView + `","data":{"rows":{`, `}}}`
	var out []*frame
	for len(parts) > 0 {
		n, size := 0, len(head)+len(tail)
		for ; n < len(parts); n++ {
			more := len(parts[n].of(parcels)) + 1
			if n > 0 && size+more > maxView {
				break
			}
			size += more
		}
		body := append(make([]byte, 0, size), head...)
		for i, p := range parts[:n] {
			if i > 0 {
				body = append(body, ',')
			}
			body = append(body, p.of(parcels)...)
		}
		out = append(out, &frame{seq: -1, json: append(body, tail...)})
		parts = parts[n:]
	}
	return out
}
