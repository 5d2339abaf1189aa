package rulefile

import (
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"

	"github.com/waooaw/platform-portal/internal/fault"
	"github.com/waooaw/platform-portal/internal/manifest"
)

const noDuration = "is not a duration such as 30s, 5m or 1h"

var (
	durationPath = regexp.MustCompile(`\.(interval|for|keep_firing_for|query_offset)$`)
	durationLine = regexp.MustCompile(`^(.*\b(?:interval|for|keep_firing_for|query_offset)["']?:\s*)(["']?)([^"'#\n]*?)(["']?)(\s*(?:#.*)?)$`)
)

// further gives the mistakes that the first one hides: what can't be read as a
// duration, or is no field, keeps the reader from looking at anything else.
func further(file string, content []byte) []fault.Field {
	lines := strings.Split(string(content), "\n")
	var fields []fault.Field
	places := manifest.LinesOf(content)
	if len(places) == 0 {
		return nil // it is not YAML
	}
	for _, path := range slices.Sorted(maps.Keys(places[0])) {
		n := places[0][path]
		if !durationPath.MatchString(path) || n < 1 || n > len(lines) {
			continue
		}
		found := durationLine.FindStringSubmatch(strings.TrimSuffix(lines[n-1], "\r"))
		if found == nil || found[3] == "" {
			continue
		}
		if _, err := model.ParseDuration(found[3]); err != nil {
			fields = append(fields, fault.Field{Path: fmt.Sprintf("line %d", n), Message: noDuration})
			lines[n-1] = found[1] + "1m" + found[5]
		}
	}
	rest := []byte(strings.Join(lines, "\n"))
	for _, lenient := range []bool{false, true} { // fields that there are not
		parsed, mistakes := rulefmt.Parse(rest, lenient, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
		where := placesOf(rest, parsed)
		for _, m := range mistakes {
			fields = append(fields, where.fieldsOf(file, m)...)
		}
		if parsed != nil {
			break
		}
	}
	return fields
}
