package view

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Count writes a whole number with thin spaces between thousands: 12 345.
func Count(n int) string {
	s := strconv.Itoa(n)
	sign := ""
	if n < 0 {
		sign, s = "-", s[1:]
	}
	if len(s) <= 4 {
		return sign + s
	}
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteString(thin)
		}
		b.WriteRune(r)
	}
	return sign + b.String()
}

// thin is a narrow space at which a line does not break.
const thin = "\u202f"

// Number writes a value with about three digits that say something: 0.034,
// 1.25, 12.5, 340, 12.3k, 4.5M.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return None
	case a == 0:
		return "0"
	case a < 0.001:
		return "<0.001"
	case a < 0.9995:
		return trim(v, 3)
	case a < 9.995:
		return trim(v, 2)
	case a < 99.95:
		return trim(v, 1)
	case a < 9999.5:
		return trim(v, 0)
	case a < 999_950:
		return trim(v/1e3, 1) + "k"
	case a < 999_950_000:
		return trim(v/1e6, 1) + "M"
	}
	return trim(v/1e9, 1) + "G"
}

// trim writes at most n digits after the point, none of them a zero at the end.
func trim(v float64, n int) string {
	s := strconv.FormatFloat(v, 'f', n, 64)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	if s == "-0" {
		return "0"
	}
	return s
}

// Percent writes a share: 0.034 is 3.4 %.
func Percent(share float64) string {
	p := share * 100
	switch {
	case math.IsNaN(p) || math.IsInf(p, 0):
		return None
	case p > 0 && p < 0.1:
		return "<0.1" + thin + "%"
	case p < 9.95:
		return trim(p, 1) + thin + "%"
	case p < 100 && p >= 99.5: // 100 % is said only of all
		return trim(math.Floor(p*10)/10, 1) + thin + "%"
	}
	return trim(p, 0) + thin + "%"
}

// Bytes writes a size in the units of memory: 512 B, 1.5 MiB.
func Bytes(n int64) string {
	if n < 0 {
		return "-" + Bytes(-max(n, -math.MaxInt64))
	}
	if n < 1024 {
		return strconv.FormatInt(n, 10) + thin + "B"
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if v /= 1024; v < 1023.5 {
			break
		}
	}
	digits := 0
	if v < 99.95 {
		digits = 1
	}
	return trim(v, digits) + thin + unit
}

// Money writes US dollars: $0.0042, $3.20, $1 234.
func Money(usd float64) string {
	sign := ""
	if usd < 0 {
		sign, usd = "-", -usd
	}
	switch {
	case math.IsNaN(usd) || math.IsInf(usd, 0):
		return None
	case usd == 0:
		return "$0.00"
	case usd < 0.0001:
		return sign + "<$0.0001"
	case usd < 0.01:
		return sign + "$" + trim(usd, 4)
	case usd < 999.995:
		return sign + "$" + strconv.FormatFloat(usd, 'f', 2, 64)
	case usd < 1e15:
		return sign + "$" + Count(int(math.Round(usd)))
	}
	return sign + "$" + Number(usd)
}

// Duration writes a length of time with one or two units: 250 ms, 1.4 s, 42 s,
// 3 min 5 s, 2 h 10 min, 4 d 3 h.
func Duration(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -max(d, -math.MaxInt64)
	}
	return sign + length(d)
}

func length(d time.Duration) string {
	switch {
	case d == 0:
		return "0" + thin + "s"
	case d < time.Millisecond:
		return "<1" + thin + "ms"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + thin + "ms"
	case d < 10*time.Second:
		return trim(math.Floor(d.Seconds()*10)/10, 1) + thin + "s"
	case d < time.Minute:
		return pair(d, time.Second, "s", 0, "")
	case d < time.Hour:
		return pair(d, time.Minute, "min", time.Second, "s")
	case d < 24*time.Hour:
		return pair(d, time.Hour, "h", time.Minute, "min")
	}
	return pair(d, 24*time.Hour, "d", time.Hour, "h")
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	s := strconv.FormatInt(int64(d/big), 10) + thin + bigName
	if small == 0 || d%big < small {
		return s
	}
	return s + " " + strconv.FormatInt(int64(d%big/small), 10) + thin + smallName
}

// Seconds writes a length of time that is given in seconds.
func Seconds(s float64) string {
	if math.IsNaN(s) || math.Abs(s) > math.MaxInt64/1e9 {
		return None
	}
	return Duration(time.Duration(s * float64(time.Second)))
}

// Words makes a sentence's beginning of a name of the program: "rolled_back"
// and "ROLLED_BACK" are both "Rolled back".
func Words(name string) string {
	s := strings.ToLower(strings.ReplaceAll(name, "_", " "))
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
