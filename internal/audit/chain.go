package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
)

// Origin is the Prev of the first entry.
var Origin = strings.Repeat("0", 2*sha256.Size)

// canonical names the form that is hashed, so that a later form can never be
// mistaken for this one.
const canonical = "platform-portal audit entry 1"

// HashOf gives the hash of an entry: SHA-256, in hex, over every field but
// Hash, in fixed order, each preceded by its length. The time counts in UTC,
// cut to microseconds, because that is what every store keeps.
func HashOf(e Entry) string {
	h := sha256.New()
	var size [8]byte
	for _, field := range []string{
		canonical,
		strconv.FormatInt(e.Seq, 10),
		stamp(e.At).Format(time.RFC3339Nano),
		e.Actor,
		e.Role,
		e.From,
		e.Action,
		e.Target,
		string(e.Outcome),
		e.Reason,
		e.Request,
		string(e.Before),
		string(e.After),
		e.Prev,
	} {
		binary.BigEndian.PutUint64(size[:], uint64(len(field)))
		h.Write(size[:])
		h.Write([]byte(field))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// stamp gives the instant as it is stored and hashed.
func stamp(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
