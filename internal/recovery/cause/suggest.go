package cause

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/waooaw/platform-portal/internal/agent"
)

// offer collects what can be done. How likely each is to help is from experience
// with the cause; what happened here before is added by who keeps the record.
type offer struct {
	f     *Facts
	found *Finding
	list  []Suggestion
}

// offered gives what can be done about a finding, the most promising first.
func offered(f *Facts, found *Finding) []Suggestion {
	o := &offer{f: f, found: found}
	switch found.Code {
	case PortInUse:
		o.port()
	case MissingBinary:
		o.command()
	case MissingVariable, BadConfig:
		o.setting()
	case MissingDependency:
		o.dependency()
	case OutOfMemory:
		o.memory()
	case CPUStarved:
		o.processor()
	case SlowDependency, NetworkRefused:
		o.far()
	case QueueBacklog, PoisonMessage:
		o.queue()
	default:
		o.others()
	}
	slices.SortStableFunc(o.list, func(a, b Suggestion) int { return cmp.Compare(b.ExpectedSuccess, a.ExpectedSuccess) })
	return o.list
}

func (o *offer) add(fix Fix, success float64, title, why string, parameters map[string]any) {
	o.list = append(o.list, Suggestion{Fix: fix, Title: title, Why: why, ExpectedSuccess: success, Parameters: parameters, OneClick: true})
}

// ask adds what needs something filled in.
func (o *offer) ask(fix Fix, success float64, title, why string, parameters map[string]any) {
	o.add(fix, success, title, why, parameters)
	o.list[len(o.list)-1].OneClick = false
}

// back offers the last good revision, if there is one.
func (o *offer) back(success float64) {
	if g := o.f.Good; g != nil {
		o.add(RollBack, success, fmt.Sprintf("Go back to revision %d", g.Revision),
			fmt.Sprintf("Revision %d ran well. What was changed since then is undone as a new revision.", g.Revision), map[string]any{"revision": g.Revision})
	}
}

func (o *offer) restart(success float64, why string) {
	o.add(Restart, success, "Restart it", why, nil)
}

func (o *offer) slowly(success float64) {
	o.add(RestartWithBackoff, success, "Restart it with longer pauses", "It is given more tries, with longer pauses between them, so that what it waits for can come back.", nil)
}

// remedy is what was said can be done, or something that holds in general.
func (o *offer) remedy(otherwise string) string {
	if p := o.f.Problem; p != nil && p.Remedy != "" {
		return p.Remedy
	}
	if f := o.f.Failure; f != nil && f.Remedy != "" {
		return f.Remedy
	}
	return otherwise
}

func (o *offer) wait(success float64, why string) {
	o.add(Wait, success, "Wait until it recovers", why, nil)
}

func (o *offer) port() {
	from := number(o.found.Key)
	if slices.Contains(o.f.ports(), from) {
		to, title := 0, fmt.Sprintf("Use another port than %d", from)
		parameters := map[string]any{"from": from}
		if o.f.FreePort != nil {
			to = o.f.FreePort(from)
		}
		if to != 0 {
			title = fmt.Sprintf("Use port %d", to)
			parameters["to"] = to
		}
		o.add(ChangePort, 0.92, title, "The port is replaced wherever the specification names it, and the agent is started with the new revision.", parameters)
	} else {
		o.restart(0.8, "The port was given by the portal, which gives another one with the next start.")
	}
	if g := o.f.Good; g != nil && !slices.ContainsFunc(g.Spec.Ports, byNumber(from)) {
		o.back(0.7)
	}
	o.slowly(0.3)
	o.holder(from)
}

// holder offers to end what has the port: an agent, or a program that only people
// may end.
func (o *offer) holder(port int) {
	h := holder(o.f, port)
	if h == nil {
		return
	}
	if h.AgentID != "" {
		o.add(StopHolder, 0.25, "Stop the agent "+h.AgentID, fmt.Sprintf("It has port %d. This agent is started when the port is free.", port), map[string]any{"agent": h.AgentID})
	} else {
		o.ask(NoFix, 0.25, fmt.Sprintf("Stop %s (pid %d) and restart this agent", h.Command, h.PID),
			"The portal does not end programs that it did not start. Stop it on the machine where it is of no use.", nil)
	}
	o.wait(0.1, "The program that holds the port may end.")
}

func byNumber(n int) func(agent.Port) bool { return func(p agent.Port) bool { return p.Port == n } }

func (o *offer) command() {
	name := o.f.Spec.Command
	if g := o.f.Good; g != nil && (g.Spec.Command != name || g.Spec.Template != o.f.Spec.Template || !slices.Equal(g.Spec.Args, o.f.Spec.Args)) {
		o.back(0.93)
	}
	// Only the command itself can be corrected, not what a script calls.
	if there, near := o.f.nearest(name); !there && name != "" {
		if len(near) > 0 {
			o.add(CorrectCommand, 0.88, "Run "+near[0]+" in its place", "It is there and has almost the same name.", map[string]any{"command": near[0]})
		} else {
			o.ask(CorrectCommand, 0.5, "Correct the command", "Nothing that is there has a similar name.", map[string]any{"command": ""})
		}
	} else if there {
		o.restart(0.4, "The program may have come back.")
	}
	if len(o.list) == 0 || o.list[0].Fix == CorrectCommand {
		o.back(0.6)
	}
}

func (o *offer) setting() {
	name := o.found.Key
	good := o.f.Good
	if name != "" && good != nil {
		if v, ok := good.Spec.Env[name]; ok && v != o.f.Spec.Env[name] {
			o.add(SetVariable, 0.94, "Set "+name+" as it was", fmt.Sprintf("Revision %d, which ran well, had a value for it.", good.Revision),
				map[string]any{"name": name, "from_revision": good.Revision})
		}
	}
	o.back(0.9)
	if name == "" || len(o.list) == 0 || o.list[0].Fix != SetVariable {
		o.ask(SetVariable, 0.6, strings.TrimSpace("Set the variable "+name), "Its value is not known here.", map[string]any{"name": name, "value": ""})
	}
}

func (o *offer) dependency() {
	for _, d := range o.f.Dependencies {
		if strings.EqualFold(d.Name, o.found.Key) && d.Exists && d.State != agent.Revoked {
			o.add(StartDependency, 0.92, "Start "+d.Name+" first", "It is what this agent waits for.", map[string]any{"agent": d.ID})
		}
	}
	if len(o.list) == 0 && o.f.PeerAt != nil {
		for _, a := range o.f.calls() {
			if p := o.f.PeerAt(a.port); p != nil && p.ID != o.f.AgentID && p.Down() {
				o.add(StartDependency, 0.9, "Start "+p.Name+" first", "It is what this agent connects to.", map[string]any{"agent": p.ID})
				break
			}
		}
	}
	o.back(0.75)
	o.slowly(0.35)
	o.wait(0.2, "It may be started by somebody.")
}

// calls are the addresses that were complained of.
func (f *Facts) calls() []address {
	if m := last(f.texts(), refused); m != nil {
		return addresses(m.line)
	}
	if m := last(f.texts(), tooSlow); m != nil {
		return addresses(m.line)
	}
	return nil
}

func (o *offer) memory() {
	parameters := map[string]any{}
	if m := o.f.Spec.Resources.Memory; m > 0 {
		parameters["memory"] = (2 * m).String()
		title := fmt.Sprintf("Allow it %s of memory", 2*m)
		o.add(RaiseMemory, 0.8, title, fmt.Sprintf("It has %s now, which is not enough.", m), parameters)
	}
	if g := o.f.Good; g != nil && (g.Spec.Resources.Memory > o.f.Spec.Resources.Memory || g.Spec.Resources.Memory == 0 || g.Spec.Command != o.f.Spec.Command || !slices.Equal(g.Spec.Args, o.f.Spec.Args)) {
		o.back(0.7)
	}
	o.restart(0.45, "It begins with little memory again.")
	o.slowly(0.2)
}

func (o *offer) processor() {
	if c := o.f.Spec.Resources.CPU; c > 0 {
		more := min(64, max(0.5, 4*c))
		o.add(RaiseCPU, 0.9, fmt.Sprintf("Allow it %g cores", more), fmt.Sprintf("It has %g now, which is not enough.", c), map[string]any{"cpu": more})
	}
	if g := o.f.Good; g != nil && (g.Spec.Resources.CPU > o.f.Spec.Resources.CPU || g.Spec.Resources.CPU == 0) {
		o.back(0.8)
	}
	o.scale(0.4)
	o.restart(0.2, "What it is busy with may be over then.")
}

func (o *offer) scale(success float64) {
	n := max(1, o.f.Spec.Replicas)
	if n < 100 && len(o.f.Spec.Ports) == 0 {
		more := min(100, n+max(1, n/2))
		o.add(ScaleOut, success, fmt.Sprintf("Run %d instances in place of %d", more, n), "They share the work.", map[string]any{"replicas": more})
	}
}

func (o *offer) far() {
	changed := false
	if g := o.f.Good; g != nil {
		changed = !maps.Equal(g.Spec.Env, o.f.Spec.Env) || !slices.Equal(g.Spec.Args, o.f.Spec.Args)
	}
	if changed {
		o.back(0.85)
	}
	if o.found.Code == SlowDependency {
		o.wait(0.6, "What it calls may be under load for a moment.")
	} else {
		o.wait(0.4, "What it connects to may come back.")
	}
	o.slowly(0.55)
	o.restart(0.35, "It connects anew.")
}

func (o *offer) queue() {
	if o.found.Code == PoisonMessage {
		parameters := map[string]any{}
		if m := o.f.Oldest; m != nil {
			parameters["sequence"] = m.Sequence
		}
		o.add(DeadLetterMessage, 0.93, "Put the message aside", "It is kept among the dead letters, where it can be looked at, corrected and tried again.", parameters)
		o.back(0.5)
		o.restart(0.2, "It tries the message once more.")
		return
	}
	o.scale(0.8)
	o.restart(0.45, "It takes messages anew.")
	o.wait(0.3, "It may catch up by itself.")
}

func (o *offer) others() {
	switch o.found.Code {
	case Hang:
		o.restart(0.85, "A new process does not wait for what the old one waits for.")
		o.back(0.5)
		o.slowly(0.3)
	case DiskFull:
		o.add(FreeDisk, 0.85, "Free space in its directories", "Rotated logs, temporary files and the output of instances that ended are deleted, of this agent alone.", nil)
		o.back(0.4)
		o.restart(0.25, "It may clean up when it starts.")
	case FDLeak:
		o.restart(0.85, "The system closes what it left open.")
		limit := 2 * max(o.f.fileLimit(), 512)
		o.add(RaiseLimit, 0.5, fmt.Sprintf("Allow it %d open files", limit), "It takes longer until they are used up.", map[string]any{"open_files": limit})
		o.back(0.45)
	case ExpiredCredential:
		o.add(RenewCredentials, 0.88, "Give it a new credential", "The old one is revoked, and it is restarted with the new one.", nil)
		o.back(0.5)
		o.restart(0.3, "It reads its credential anew.")
	case Displaced:
		o.displaced()
	case NoRoom, RuntimeRefuses:
		o.runtime()
	case ImageUnavailable:
		title := "See that the image can be had"
		if strings.HasPrefix(o.found.Key, "image.build") {
			title = "See that the image can be built"
		}
		o.ask(NoFix, 0.9, title, o.remedy("Correct the image of the specification."), nil)
		o.back(0.7)
		o.slowly(0.4)
		o.restart(0.3, "The registry may answer again.")
	case EngineAway:
		o.ask(NoFix, 0.9, "Bring back what it runs on", o.remedy("See why it does not answer; the page Diagnostics checks it."), nil)
		o.slowly(0.4)
		o.restart(0.3, "It may answer again.")
	case ClockSkew:
		o.back(0.7)
		o.restart(0.5, "It compares its clock anew.")
		o.wait(0.45, "Clocks are corrected by themselves.")
	case Flaky:
		o.restart(0.62, "It begins anew.")
		o.wait(0.6, "So far it has recovered by itself.")
		o.slowly(0.4)
	case CrashLoop:
		o.back(0.85)
		o.slowly(0.5)
		o.restart(0.4, "Its restarts are counted anew.")
	default:
		o.back(0.6)
		o.restart(0.5, "It begins anew.")
		o.slowly(0.3)
	}
}

func (o *offer) displaced() {
	switch o.found.Key {
	case "suspend_lost":
		o.restart(0.9, "It begins anew, without what it had in memory.")
	case "instances_lost":
		o.ask(NoFix, 0.8, "Find out who removes its instances", o.remedy("See the record of what it runs on."), nil)
		o.restart(0.3, "It begins anew.")
	default:
		o.wait(0.9, "It is being begun again.")
		o.restart(0.3, "It begins anew.")
	}
}

// runtime offers what ends a refusal of what it runs on: mostly nothing that the
// portal can do by itself.
func (o *offer) runtime() {
	title, otherwise := "See to it that it can run there", "See why it is refused; the page Diagnostics checks what it runs on."
	if o.found.Code == NoRoom {
		title, otherwise = "Make room for it", "Add nodes or raise the quota, stop other agents, or give this one smaller limits."
	}
	o.ask(NoFix, 0.9, title, o.remedy(otherwise), nil)
	if o.found.Class != Dependency || o.found.Code == NoRoom && o.f.Good != nil && o.f.Good.Spec.Resources != o.f.Spec.Resources {
		o.back(0.7)
	}
	o.restart(0.3, "It may be taken now.")
}

// fileLimit is how many files it may open, as last measured.
func (f *Facts) fileLimit() int {
	for i := len(f.Samples) - 1; i >= 0; i-- {
		if n := f.Samples[i].FileLimit; n > 0 {
			return n
		}
	}
	return f.Spec.Resources.OpenFiles
}

// number reads digits; 0 for anything else.
func number(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > 1<<20 {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	return n
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
