package metrics

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"time"
)

var durationParts = regexp.MustCompile(`^(?:(\d{1,4})w)?(?:(\d{1,5})d)?(?:(\d{1,6})h)?(?:(\d{1,8})m)?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?$`)

// ParseDuration reads a duration as PromQL writes it: 15s, 5m, 1h30m, 1d, 2w.
func ParseDuration(text string) (time.Duration, error) {
	m := durationParts.FindStringSubmatch(text)
	if m == nil || text == "" {
		return 0, fmt.Errorf("%.40q is not a duration such as 15s, 5m, 1h30m or 1d", text)
	}
	units := []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second, time.Millisecond}
	var d time.Duration
	for i, unit := range units {
		if m[i+1] != "" {
			n, _ := strconv.Atoi(m[i+1]) // at most nine digits
			if time.Duration(n) > (math.MaxInt64-d)/unit {
				return 0, fmt.Errorf("%.40q is longer than can be counted", text)
			}
			d += time.Duration(n) * unit
		}
	}
	if d <= 0 {
		return 0, fmt.Errorf("%.40q is not above 0", text)
	}
	return d, nil
}
