package agent

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span written as in "1m30s"; a bare number is refused.
type Duration time.Duration

// Or gives d, or def where d is zero.
func (d Duration) Or(def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return time.Duration(d)
}

// Rough writes it for people, as 1.5 MiB.
func (q Quantity) Rough() string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, unit := float64(q), 0
	for v >= 1024 && unit < len(units)-1 {
		v, unit = v/1024, unit+1
	}
	return strconv.FormatFloat(v, 'f', min(unit, 1), 64) + " " + units[unit]
}

// MarshalText writes "1m30s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads "1m30s".
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 500ms, 10s or 1m30s", b)
	}
	*d = Duration(v)
	return nil
}

// Quantity is a number of bytes, written with the binary suffixes Ki Mi Gi Ti
// or the decimal k K M G T, as in Kubernetes resource quantities.
type Quantity int64

var suffixes = []struct {
	s string
	f float64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"K", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// ParseQuantity reads "256Mi", "1G" or a number of bytes.
func ParseQuantity(s string) (Quantity, error) {
	num, factor := strings.TrimSpace(s), 1.0
	for _, x := range suffixes {
		if rest, ok := strings.CutSuffix(num, x.s); ok {
			num, factor = rest, x.f
			break
		}
	}
	v, err := strconv.ParseFloat(num, 64)
	if err != nil || !(v >= 0) || v*factor > 1<<60 {
		return 0, fmt.Errorf("%q is not a size such as 256Mi, 1Gi or 500M", s)
	}
	return Quantity(v * factor), nil
}

// String writes the quantity with the largest suffix that divides it.
func (q Quantity) String() string {
	for _, x := range []int{3, 2, 1, 0} {
		if f := int64(suffixes[x].f); q != 0 && int64(q)%f == 0 {
			return strconv.FormatInt(int64(q)/f, 10) + suffixes[x].s
		}
	}
	return strconv.FormatInt(int64(q), 10)
}

// MarshalText writes as String does.
func (q Quantity) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText reads as ParseQuantity does.
func (q *Quantity) UnmarshalText(b []byte) error {
	v, err := ParseQuantity(string(b))
	*q = v
	return err
}

// PortRef is a port number, or a reference such as $(PORT) that is expanded
// for each instance.
type PortRef string

// Number gives the port if the reference is a plain number.
func (p PortRef) Number() (int, bool) {
	n, err := strconv.Atoi(string(p))
	return n, err == nil
}

// MarshalJSON writes a number where it is one.
func (p PortRef) MarshalJSON() ([]byte, error) {
	if n, ok := p.Number(); ok {
		return []byte(strconv.Itoa(n)), nil
	}
	return json.Marshal(string(p))
}

// UnmarshalJSON reads a number or a string.
func (p *PortRef) UnmarshalJSON(b []byte) error {
	s := string(b)
	if strings.HasPrefix(s, `"`) {
		if err := json.Unmarshal(b, &s); err != nil {
			return fmt.Errorf("%s is not a port", b)
		}
	}
	*p = PortRef(s)
	return nil
}

// Requirement is one term of a Selector.
type Requirement struct {
	Key    string
	Op     string // "=", "!=", "in", "notin", "exists", "!exists"
	Values []string
}

// Selector picks agents by labels; all requirements must hold. The syntax is
// that of Kubernetes label selectors: "env=prod,team!=x,tier in (a,b),key,!key".
type Selector []Requirement
