package drive

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

var token = regexp.MustCompile(`ptl_[A-Za-z0-9_-]+`)

// TokenIn gives the token in what a portal in a container printed, where its
// warnings stand beside it; "" if there is none.
func TokenIn(output string) string { return token.FindString(output) }

// Hosting is what the portal says of a runtime.
type Hosting struct {
	Name   string  `json:"name"`
	Checks []Check `json:"checks"`
}

// Check is one thing that a runtime can or can't do. Down says that without it nothing
// runs there.
type Check struct {
	Name string `json:"name"`
	OK   bool   `json:"ok"`
	Why  string `json:"why"`
	Down bool   `json:"down"`
}

// itself are the checks for whether a runtime is there at all.
var itself = map[string]bool{"docker_engine": true, "kubernetes_cluster": true}

// Undocumented compares what runtimes say of themselves with the table in
// docs/runtimes.md, where a dash stands for what a runtime does not speak of.
func Undocumented(runtimes []Hosting) (problems []string, err error) {
	root, err := Root()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "runtimes.md"))
	if err != nil {
		return nil, err
	}
	said := map[string]map[string]bool{} // by capability and runtime
	for _, r := range runtimes {
		for _, c := range r.Checks {
			if said[c.Name] == nil {
				said[c.Name] = map[string]bool{}
			}
			said[c.Name][r.Name] = true
		}
	}
	var columns []string
	documented := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		name := strings.Trim(cells[0], "`")
		if cells[0] == "capability" {
			columns = cells
		}
		if !strings.HasPrefix(line, "| `") || len(cells) != len(columns) {
			continue
		}
		documented[name] = true
		somebody, claimed := len(said[name]) > 0, false
		for i, r := range columns[1:] {
			dash := cells[i+1] == "—"
			claimed = claimed || !dash && has(runtimes, r)
			if dash && said[name][r] {
				problems = append(problems, fmt.Sprintf("%s says something of %s, and docs/runtimes.md has a dash", r, name))
			}
		}
		if claimed && !somebody {
			problems = append(problems, fmt.Sprintf("docs/runtimes.md speaks of %s, and no runtime does", name))
		}
	}
	for name := range said {
		if !documented[name] && !itself[name] {
			problems = append(problems, fmt.Sprintf("%s is not in docs/runtimes.md", name))
		}
	}
	return problems, nil
}

func has(runtimes []Hosting, name string) bool {
	for _, r := range runtimes {
		if r.Name == name {
			return true
		}
	}
	return false
}
