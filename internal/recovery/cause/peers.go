package cause

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/waooaw/platform-portal/internal/agent"
)

var (
	refused = regexp.MustCompile(`(?i)ECONNREFUSED|connection (was )?refused|connect: refused|ConnectException|ConnectionRefused|actively refused|errno 111\b|no route to host|EHOSTUNREACH|ENETUNREACH|network is unreachable|` +
		`ENOTFOUND|no such host|name or service not known|EAI_AGAIN|could not resolve|temporary failure in name resolution|(could not|cannot|can't|failed to|unable to) (connect|reach|dial)|connect(ion)? (to \S+ )?failed|connection reset|ECONNRESET|nobody (is )?listen|unreachable|refused (the|our|a)? ?connection`)
	tooSlow  = regexp.MustCompile(`(?i)time[d]? ?-?out|deadline exceeded|ETIMEDOUT|ESOCKETTIMEDOUT|took too long|too slow|slow (response|upstream|dependency|query|call|backend|answer)|\b504\b|gateway time|no (response|answer|reply) (from \S+ )?(within|after|in)|latency\b.{0,40}(exceed|high|above|over)|exceeded .{0,30}(budget|sla|latency)`)
	noModule = regexp.MustCompile(`(?i)ModuleNotFoundError: No module named ['"]?([\w.-]+)|No module named ['"]?([\w.-]+)|Cannot find (?:module|package) ['"]?([\w@/.-]+)|ImportError: (?:cannot import name )?['"]?([\w.-]+)|ClassNotFoundException: ([\w.$]+)|NoClassDefFoundError: ([\w/$]+)|error while loading shared libraries: ([\w.+-]+)|cannot load such file -- ([\w/.-]+)|Could not find gem '([\w-]+)|MODULE_NOT_FOUND`)
	behind   = regexp.MustCompile(`(?i)upstream|dependency|depend(s|ed)? on|backend|downstream|peer|service|database|\bdb\b|redis|postgres|mysql|mongo|broker|server`)
)

// dependency: an agent that it needs does not serve.
func dependency(f *Facts) *Finding {
	d, line := f.downPeer()
	if d == nil || f.well() {
		return nil
	}
	certainty := 0.75
	evidence := []Evidence{{Kind: "spec", Text: fmt.Sprintf("It depends on %s, which %s", d.Name, d.how()), At: f.Now}}
	if line != "" {
		certainty = 0.96
		evidence = append([]Evidence{{Kind: "log", Text: short(line)}}, evidence...)
	} else if strings.Contains(f.HealthReason, "depends on") {
		evidence = append(evidence, Evidence{Kind: "probe", Text: short(f.HealthReason), At: f.Now})
		certainty = 0.8
	}
	return &Finding{
		Code: MissingDependency, Certainty: certainty, Key: strings.ToLower(d.Name), Evidence: append(evidence, f.exitEvidence()...),
		Title:   fmt.Sprintf("%s, which it needs, %s", d.Name, d.how()),
		Summary: fmt.Sprintf("It depends on the agent %s, which %s.", d.Name, d.how()),
	}
}

// well tells whether nothing is wrong with it that anybody would notice.
func (f *Facts) well() bool {
	return f.State == agent.Running && f.Health == agent.HealthHealthy && f.Problem == nil && f.Ended == nil
}

func (p Peer) how() string {
	switch {
	case !p.Exists:
		return "is not in the fleet"
	case p.State != agent.Running:
		return "is " + string(p.State)
	case p.Health != agent.HealthHealthy && p.Health != "":
		return "is " + string(p.Health)
	}
	return "runs"
}

// downPeer gives an agent that it needs and that does not serve, and the line
// that complains of it.
func (f *Facts) downPeer() (*Peer, string) {
	texts := f.texts()
	m := last(texts, refused)
	if m == nil {
		m = last(texts, tooSlow)
	}
	var first *Peer
	for i := range f.Dependencies {
		d := &f.Dependencies[i]
		if !d.Down() {
			continue
		}
		if first == nil {
			first = d
		}
		if named := last(texts, regexp.MustCompile(`(?i)\b`+regexp.QuoteMeta(d.Name)+`\b`)); named != nil {
			return d, named.line
		}
		if m == nil {
			continue
		}
		for _, a := range addresses(m.line) {
			for _, n := range d.Ports {
				if n == a.port {
					return d, m.line
				}
			}
		}
	}
	if m == nil || f.PeerAt == nil {
		return first, ""
	}
	for _, a := range addresses(m.line) {
		if p := f.PeerAt(a.port); a.local() && p != nil && p.ID != f.AgentID && p.Down() {
			return p, m.line
		}
	}
	// Where one that does not run would listen is not known if its port is given to
	// it when it starts.
	if first != nil && (len(first.Ports) == 0 || len(addresses(m.line)) == 0) && f.allHere(addresses(m.line)) {
		return first, m.line
	}
	return first, ""
}

// allHere tells whether the addresses are of this machine, where nobody listens.
func (f *Facts) allHere(list []address) bool {
	for _, a := range list {
		if !a.local() || f.HolderOf != nil && f.HolderOf(a.port) != nil {
			return false
		}
	}
	return true
}

// module: a library or module that the program needs is not installed.
func module(f *Facts) *Finding {
	m := last(f.texts(), noModule)
	if m == nil || !f.failed() {
		return nil
	}
	name := strings.Join(m.groups[1:], "")
	out := &Finding{
		Code: MissingDependency, Certainty: 0.95, Key: name, Evidence: append([]Evidence{m.evidence()}, f.exitEvidence()...),
		Title:   fmt.Sprintf("A module that it needs is not installed: %s", name),
		Summary: fmt.Sprintf("The program needs %s, which is not there.", name),
	}
	if name == "" {
		out.Title, out.Summary = "A module that it needs is not installed", "The program needs a module that is not there."
	}
	return out
}

// slow: something that it calls answers too late.
func slow(f *Facts) *Finding {
	late := f.latePeer()
	m := last(f.texts(), tooSlow)
	if m != nil && f.Problem != nil && strings.Contains(f.Problem.What+": "+f.Problem.Why, m.line) {
		m = nil // that is the portal, which waited for the agent
	}
	if m == nil && (late == nil || f.well()) {
		return nil
	}
	out := &Finding{Code: SlowDependency, Certainty: 0.6, Title: "Something that it calls answers too late", Summary: "Its calls to something that it depends on time out."}
	if m != nil {
		out.Evidence = append(out.Evidence, m.evidence())
		found := addresses(m.line)
		switch {
		case len(found) > 0 && f.PeerAt != nil && f.PeerAt(found[0].port) != nil && f.PeerAt(found[0].port).ID != f.AgentID:
			p := f.PeerAt(found[0].port)
			out.Certainty, out.Key = 0.95, strings.ToLower(p.Name)
			out.Title, out.Summary = p.Name+" answers too late", fmt.Sprintf("Its calls to the agent %s time out.", p.Name)
		case len(found) > 0:
			out.Certainty, out.Key = 0.92, found[0].String()
			out.Title, out.Summary = found[0].String()+" answers too late", fmt.Sprintf("Its calls to %s time out.", found[0])
		case behind.MatchString(m.line):
			out.Certainty = 0.9
		}
	}
	if late != nil {
		out.Key, out.Certainty = strings.ToLower(late.Name), max(out.Certainty, 0.85)
		out.Title, out.Summary = late.Name+" answers too late", fmt.Sprintf("The agent %s, which it depends on, takes %s to answer.", late.Name, late.Latency.Round(time.Millisecond))
		out.Evidence = append(out.Evidence, Evidence{Kind: "probe", Text: fmt.Sprintf("%s needed %s to answer its probe", late.Name, late.Latency.Round(time.Millisecond)), At: f.Now})
	}
	return out
}

// lateAfter is how long a dependency may take to answer its own probe.
const lateAfter = 500 * time.Millisecond

// latePeer gives a dependency that answers, and late.
func (f *Facts) latePeer() *Peer {
	for i := range f.Dependencies {
		if d := &f.Dependencies[i]; !d.Down() && d.Latency >= lateAfter {
			return d
		}
	}
	return nil
}

// network: nobody answers where it connects to.
func network(f *Facts) *Finding {
	m := last(f.texts(), refused)
	if m == nil || f.Problem != nil && len(f.Lines) == 0 && f.Ended == nil {
		return nil
	}
	out := &Finding{
		Code: NetworkRefused, Certainty: 0.88, Evidence: append([]Evidence{m.evidence()}, f.exitEvidence()...),
		Title: "What it connects to does not answer", Summary: "Its connections are refused.",
	}
	found := addresses(m.line)
	if len(found) == 0 {
		return out
	}
	a := found[len(found)-1]
	for _, other := range found {
		if f.PeerAt == nil || f.PeerAt(other.port) == nil || f.PeerAt(other.port).ID != f.AgentID {
			a = other
			break
		}
	}
	out.Key, out.Certainty = a.String(), 0.92
	out.Title, out.Summary = "Connections to "+a.String()+" are refused", fmt.Sprintf("It connects to %s, and nobody takes the connection.", a)
	if a.local() && f.HolderOf != nil && f.HolderOf(a.port) == nil {
		out.Certainty = 0.95
		out.Evidence = append(out.Evidence, Evidence{Kind: "port", Text: fmt.Sprintf("Nobody listens on port %d of this machine", a.port), At: f.Now})
	}
	for _, name := range sorted(f.Spec.Env) {
		if f.Good != nil && strings.Contains(f.Spec.Env[name], ":"+itoa(a.port)) && f.Good.Spec.Env[name] != f.Spec.Env[name] {
			out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("Revision %d, which ran well, had another value of %s", f.Good.Revision, name)})
		}
	}
	return out
}
