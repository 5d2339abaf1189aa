package cause

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	portTaken = regexp.MustCompile(`(?i)address already in use|EADDRINUSE|address (is )?in use|BindException|only one usage of each socket|errno 98\b|WSAEADDRINUSE|` +
		`port\b.{0,40}\b(in use|already (allocated|bound|taken|used)|taken|occupied|busy|not available|unavailable)\b|` +
		`(another|other) (process|program|server|service|instance)\b.{0,60}\b(port|listen|address)|` +
		`(could not|cannot|can't|failed to|unable to|couldn't) (bind|listen)\b|bind(ing)?\b.{0,60}\b(failed|in use|refused)|bind\(\) failed|listen(ing)?\b.{0,40}\bin use`)
	bindDenied  = regexp.MustCompile(`(?i)permission denied|EACCES|cannot assign requested|EADDRNOTAVAIL`)
	portNamed   = regexp.MustCompile(`(?i)\bport[ :=#"']{1,3}(\d{2,5})\b`)
	portAtEnd   = regexp.MustCompile(`[:\]](\d{2,5})\b`)
	portInTuple = regexp.MustCompile(`['"][^'"]*['"], ?(\d{2,5})\)`)
)

// port: somebody else listens on a port that the agent wants.
func port(f *Facts) *Finding {
	if c := f.code(); c == "fleet.port_in_use" || c == "port.taken" {
		return portFinding(f, firstPort(f.texts(), f), 1, f.evidence())
	}
	m := last(f.texts(), portTaken)
	if m != nil && bindDenied.MatchString(m.line) {
		m = nil
	}
	if m != nil {
		n := firstPort([]string{m.line}, f)
		if n == 0 {
			n = heldPort(f)
		}
		certainty := 0.9
		if holder(f, n) != nil {
			certainty = 0.99
		}
		return portFinding(f, n, certainty, []Evidence{m.evidence()})
	}
	// Whatever it printed: it fails at once, and a port of its specification is taken.
	if n := heldPort(f); n != 0 && f.failed() && slices.ContainsFunc(f.Spec.Ports, byNumber(n)) {
		return portFinding(f, n, 0.7, f.evidence())
	}
	return nil
}

func firstPort(lines []string, f *Facts) int {
	for i := len(lines) - 1; i >= 0; i-- {
		var found []int
		for _, p := range []*regexp.Regexp{portNamed, portAtEnd, portInTuple, digits} {
			for _, g := range p.FindAllStringSubmatch(stamps.ReplaceAllString(lines[i], " "), -1) {
				if n, err := strconv.Atoi(g[len(g)-1]); err == nil && n >= 80 && n < 65536 {
					found = append(found, n)
				}
			}
		}
		for _, n := range found {
			if holder(f, n) != nil || slices.Contains(f.ports(), n) {
				return n
			}
		}
		if len(found) > 0 && portTaken.MatchString(lines[i]) && (portNamed.MatchString(lines[i]) || portAtEnd.MatchString(lines[i])) {
			return found[0]
		}
	}
	return 0
}

// heldPort gives the first port of the agent that somebody else listens on.
func heldPort(f *Facts) int {
	for _, n := range f.ports() {
		if holder(f, n) != nil {
			return n
		}
	}
	return 0
}

// holder gives who else listens on the port.
func holder(f *Facts, n int) *Holder {
	if f.HolderOf == nil || n == 0 {
		return nil
	}
	h := f.HolderOf(n)
	if h == nil || h.AgentID == f.AgentID {
		return nil
	}
	return h
}

// ports are the numbers in the specification that can be ports that the agent
// listens on.
func (f *Facts) ports() []int {
	var out []int
	add := func(text string) {
		if n, err := strconv.Atoi(text); err == nil && n >= 80 && n < 65536 && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	for _, p := range f.Spec.Ports {
		add(strconv.Itoa(p.Port))
	}
	for _, name := range sorted(f.Spec.Env) {
		upper := strings.ToUpper(name)
		if strings.Contains(upper, "PORT") || strings.Contains(upper, "LISTEN") || strings.Contains(upper, "BIND") || strings.Contains(upper, "ADDR") {
			v := f.Spec.Env[name]
			add(v[strings.LastIndexAny(v, ":")+1:])
		}
	}
	for _, a := range f.Spec.Args {
		add(a[strings.LastIndexAny(a, ":= ")+1:])
	}
	return out
}

func portFinding(f *Facts, n int, certainty float64, evidence []Evidence) *Finding {
	out := &Finding{Code: PortInUse, Certainty: certainty, Key: itoa(n), Evidence: evidence}
	if n == 0 {
		out.Title = "A port that it listens on is already in use"
		out.Summary = "It could not listen on its port, because another program does. Which port that is, is not known."
		return out
	}
	out.Title = fmt.Sprintf("Port %d is already in use", n)
	h := holder(f, n)
	if h == nil {
		out.Summary = fmt.Sprintf("It could not listen on port %d, because another program did at that moment. Now nobody is seen there.", n)
		return out
	}
	who := fmt.Sprintf("%s (pid %d)", h.Command, h.PID)
	if h.AgentID != "" {
		who += " of the agent " + h.AgentID
	}
	out.Title += " by " + who
	out.Summary = fmt.Sprintf("It could not listen on port %d: %s listens there.", n, who)
	out.Evidence = append(out.Evidence, Evidence{Kind: "port", Text: fmt.Sprintf("Port %d: %s listens", n, who), At: f.Now})
	return out
}
