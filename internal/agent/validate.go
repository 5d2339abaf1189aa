package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/fault"
)

// The limits of a spec.
const (
	MaxSpecBytes = 256 << 10 // as JSON
	maxID        = 63
	maxName      = 63
	maxText      = 256
	maxLongText  = 16 << 10
	maxList      = 256
	maxLabels    = 64
	maxBudget    = 1e6
	maxReplicas  = 100
)

// Domains are the domains an agent can be of.
var Domains = []string{"guardian", "creation", "domain", "communication", "intelligence", "security", "scale"}

// The kinds of runtimes that have engines of their own.
const (
	Docker     = "docker"
	Kubernetes = "kubernetes"
)

// RuntimeKinds are the kinds of runtimes. A spec names one of them, or a place as
// KIND/NAME; whether it is there is for the fleet to say.
var RuntimeKinds = []string{DefaultRuntime, Docker, Kubernetes}

// RuntimeKind gives what kind of runtime is named; places of one kind can do the same.
func RuntimeKind(runtime string) string {
	kind, _, _ := strings.Cut(runtime, "/")
	return kind
}

// RuntimeName tells whether a spec may name the runtime so: a kind, or a place of
// one that has engines.
func RuntimeName(runtime string) bool {
	kind, place, named := strings.Cut(runtime, "/")
	return slices.Contains(RuntimeKinds, kind) && (!named || kind != DefaultRuntime && placeForm.MatchString(place))
}

// WrongRuntime says what is wrong with the name of a runtime; "" if nothing is.
func WrongRuntime(runtime string) string {
	if RuntimeName(runtime) {
		return ""
	}
	return fmt.Sprintf("must be one of %s, or KIND/NAME of a place that the portal is configured with, not %s", strings.Join(RuntimeKinds, ", "), quote(runtime))
}

var (
	placeForm  = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$`)
	slugForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9 _.-]*[A-Za-z0-9_.-])?$`)
	semver     = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(\.(0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$`)
	didForm    = regexp.MustCompile(`^did:[a-z0-9]+:([A-Za-z0-9._-]|%[0-9A-Fa-f]{2}|:)*([A-Za-z0-9._-]|%[0-9A-Fa-f]{2})$`)
	customerID = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}$`)
	labelName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	dnsName    = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

const slugRule = "must be lower-case letters, digits and hyphens, at most 63, with a letter or digit at both ends"

// checker collects what is wrong with a spec.
type checker struct {
	spec   Spec
	fields []fault.Field
}

func (c *checker) wrong(path, message string, args ...any) {
	c.fields = append(c.fields, fault.Field{Path: path, Message: fmt.Sprintf(message, args...)})
}

// Validate says everything that is wrong with the spec; nothing if it is valid.
// Fields that are left out are valid, but for the name.
func (s Spec) Validate() []fault.Field {
	c := &checker{spec: s}
	c.identity()
	c.description()
	c.dependencies()
	c.program()
	c.resources()
	c.variables()
	c.portsAndVolumes()
	c.probe("probes.liveness", s.Probes.Liveness)
	c.probe("probes.readiness", s.Probes.Readiness)
	c.restart()
	c.labels()
	if b, err := json.Marshal(s); err != nil {
		c.wrong("spec", "holds a value that JSON can't express")
	} else if len(b) > MaxSpecBytes {
		c.wrong("spec", "has %d bytes as JSON; at most %d are allowed", len(b), MaxSpecBytes)
	}
	return c.fields
}

func (c *checker) identity() {
	s := c.spec
	switch {
	case s.Name == "":
		c.wrong("name", "must be given")
	case len(s.Name) > maxName:
		c.wrong("name", "must be at most %d characters", maxName)
	case !nameForm.MatchString(s.Name):
		c.wrong("name", "may have ASCII letters, digits, spaces, _ - and . only, and begins with a letter or digit; use display_name for anything else")
	case s.ID == "" && Slug(s.Name) == "":
		c.wrong("id", "must be given, because none can be made from the name")
	}
	if s.ID != "" && !slugForm.MatchString(s.ID) {
		c.wrong("id", slugRule)
	}
	c.line("display_name", s.DisplayName, maxText)
	if s.DID != "" && (len(s.DID) > maxText || !didForm.MatchString(s.DID)) {
		c.wrong("did", "must have the form did:METHOD:IDENTIFIER")
	}
	if s.Tier < 0 || s.Tier > 6 {
		c.wrong("tier", "must be 1 to 6, not %d", s.Tier)
	}
	if s.Domain != "" && !slices.Contains(Domains, s.Domain) {
		c.wrong("domain", "must be one of %s, not %s", strings.Join(Domains, ", "), quote(s.Domain))
	}
	if s.Version != "" && (len(s.Version) > maxText || !semver.MatchString(s.Version)) {
		c.wrong("version", "must be a semantic version such as 1.2.3 or 1.2.3-rc.1, not %s", quote(s.Version))
	}
	if s.CustomerID != "" && !customerID.MatchString(s.CustomerID) {
		c.wrong("customer_id", "may have letters, digits and . _ : @ - only, at most 128")
	}
}

func (c *checker) description() {
	s := c.spec
	c.text("description", s.Description, maxLongText)
	c.count("capabilities", len(s.Capabilities), maxLabels)
	for _, k := range slices.Sorted(maps.Keys(s.Capabilities)) {
		at := child("capabilities", k)
		c.filled(at, k)
		c.count(at, len(s.Capabilities[k]), maxList)
		for i, v := range s.Capabilities[k] {
			c.filled(index(at, i), v)
		}
	}
	c.count("constraints", len(s.Constraints), maxList)
	for i, v := range s.Constraints {
		at := index("constraints", i)
		if strings.TrimSpace(v.Rule) == "" {
			c.wrong(at+".rule", "must be given")
		}
		c.text(at+".rule", v.Rule, maxLongText)
		c.text(at+".reason", v.Reason, maxLongText)
	}
	c.count("wake_patterns", len(s.WakePatterns), maxList)
	for i, v := range s.WakePatterns {
		at := index("wake_patterns", i)
		c.filled(at, v)
		if _, err := path.Match(v, ""); err != nil || strings.ContainsFunc(v, unicode.IsSpace) {
			c.wrong(at, "%s is not a pattern such as memory.* or *.memory.store", quote(v))
		}
	}
	if !within(s.ResourceBudget, 0, maxBudget) {
		c.wrong("resource_budget", "must be 0 to %d USD per month", int(maxBudget))
	}
}

func (c *checker) dependencies() {
	s := c.spec
	id := s.ID
	or(&id, Slug(s.Name))
	c.count("dependencies", len(s.Dependencies), maxList)
	seen := map[string]int{}
	for i, dep := range s.Dependencies {
		at := index("dependencies", i)
		switch first, twice := seen[strings.ToLower(dep)]; {
		case !nameForm.MatchString(dep) || len(dep) > maxName:
			c.wrong(at, "%s is not the name of an agent", quote(dep))
		case strings.EqualFold(dep, s.Name) || dep == id:
			c.wrong(at, "an agent can't depend on itself")
		case twice:
			c.wrong(at, "%s is there twice, first as dependencies[%d]", quote(dep), first)
		default:
			seen[strings.ToLower(dep)] = i
		}
	}
}

func (c *checker) resources() {
	r := c.spec.Resources
	if r.CPU != 0 && !within(r.CPU, 0.1, 64) {
		c.wrong("resources.cpu", "must be 0.1 to 64 cores, not %v", r.CPU)
	}
	c.size("resources.memory", r.Memory, 4<<20)
	c.size("resources.disk", r.Disk, 1<<20)
	if r.OpenFiles != 0 && (r.OpenFiles < 16 || r.OpenFiles > 1<<20) {
		c.wrong("resources.open_files", "must be 16 to 1048576, not %d", r.OpenFiles)
	}
	if r.PIDs < 0 || r.PIDs > 100_000 {
		c.wrong("resources.pids", "must be 1 to 100000, not %d", r.PIDs)
	}
}

func (c *checker) restart() {
	r := c.spec.Restart
	if r.Policy != "" && !slices.Contains([]string{"always", "on-failure", "never"}, r.Policy) {
		c.wrong("restart.policy", "must be always, on-failure or never, not %s", quote(r.Policy))
	}
	c.between("restart.max_restarts", r.MaxRestarts, 0, 1000)
	c.span("restart.window", r.Window, time.Second, 24*time.Hour)
	c.span("restart.backoff.initial", r.Backoff.Initial, 10*time.Millisecond, time.Hour)
	c.span("restart.backoff.max", r.Backoff.Max, 10*time.Millisecond, time.Hour)
	if r.Backoff.Max > 0 && r.Backoff.Initial > r.Backoff.Max {
		c.wrong("restart.backoff.max", "must not be less than restart.backoff.initial, which is %s", time.Duration(r.Backoff.Initial))
	}
	c.span("stop_timeout", c.spec.StopTimeout, time.Millisecond, time.Hour)
}

func (c *checker) labels() {
	c.count("labels", len(c.spec.Labels), maxLabels)
	for _, k := range slices.Sorted(maps.Keys(c.spec.Labels)) {
		at := child("labels", k)
		if !validLabelKey(k) {
			c.wrong(at, "is not a label: letters, digits and - _ . up to 63, with a letter or digit at both ends, after an optional domain and /")
		}
		if !validLabelValue(c.spec.Labels[k]) {
			c.wrong(at, "the value may have letters, digits and - _ . up to 63, with a letter or digit at both ends")
		}
	}
}

func validLabelKey(k string) bool {
	domain, name, found := strings.Cut(k, "/")
	if !found {
		return labelName.MatchString(k)
	}
	return len(domain) <= 253 && dnsName.MatchString(domain) && labelName.MatchString(name)
}

func validLabelValue(v string) bool { return v == "" || labelName.MatchString(v) }

// text checks a text of several lines.
func (c *checker) text(path, s string, most int) {
	if len(s) > most {
		c.wrong(path, "must be at most %d bytes", most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !strings.ContainsRune("\n\r\t", r) && hidden(r) }) {
		c.wrong(path, "must not have control or text-direction characters")
	}
}

// line checks a text of one line.
func (c *checker) line(path, s string, most int) {
	if len(s) > most {
		c.wrong(path, "must be at most %d bytes", most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, hidden) {
		c.wrong(path, "must be one line without control or text-direction characters")
	}
}

// filled checks a short text that must not be empty.
func (c *checker) filled(path, s string) {
	if strings.TrimSpace(s) == "" {
		c.wrong(path, "must not be empty")
	}
	c.line(path, s, maxText)
}

// hidden tells whether the character can't be seen or reorders what is seen.
func hidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

func (c *checker) count(path string, n, most int) {
	if n > most {
		c.wrong(path, "has %d entries; at most %d are allowed", n, most)
	}
}

// between checks a number; 0 means left out.
func (c *checker) between(path string, n, from, to int) {
	if n != 0 && (n < from || n > to) {
		c.wrong(path, "must be %d to %d, not %d", from, to, n)
	}
}

// span checks a duration; 0 means left out.
func (c *checker) span(path string, d Duration, from, to time.Duration) {
	if v := time.Duration(d); v != 0 && (v < from || v > to) {
		c.wrong(path, "must be %s to %s, not %s", from, to, v)
	}
}

// size checks a number of bytes; 0 means left out.
func (c *checker) size(path string, q, least Quantity) {
	const most = Quantity(16 << 40)
	if q != 0 && (q < least || q > most) {
		c.wrong(path, "must be %s to %s, not %s", least, most, q)
	}
}

// within is false for what is not a number, too.
func within(v, from, to float64) bool { return v >= from && v <= to }

// index is the path of an item.
func index(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }
