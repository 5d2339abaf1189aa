package cause

import (
	"cmp"
	"slices"
)

// detector looks for one family of causes; nil if nothing speaks for it.
type detector struct {
	name string
	look func(f *Facts) *Finding
}

// detectors are asked all; the most certain answer counts, the first of those
// that are equally certain.
var detectors = []detector{
	{"engine", engine}, {"image", image}, {"room", room}, {"refusal", refusal}, {"lost", lost}, {"stuck", stuck}, {"displaced", displaced}, {"port", port}, {"command", command}, {"memory", memory}, {"disk", disk}, {"files", files}, {"message", message},
	{"clock", clock}, {"credential", credential}, {"variable", variable}, {"configuration", configuration},
	{"dependency", dependency}, {"module", module}, {"slow", slow}, {"network", network}, {"processor", processor}, {"backlog", backlog},
	{"hang", hang}, {"flaky", flaky}, {"crash", crash},
}

// Find gives what the evidence speaks for most; nil if nothing is wrong that
// could be seen.
func Find(f *Facts) *Finding {
	all := Findings(f)
	if len(all) == 0 {
		return nil
	}
	return &all[0]
}

// Findings gives everything that something speaks for, the most certain first.
func Findings(f *Facts) []Finding {
	var out []Finding
	for _, d := range detectors {
		if found := d.look(f); found != nil {
			found.Class = cmp.Or(found.Class, ClassOf(found.Code))
			found.Suggestions = offered(f, found)
			out = append(out, *found)
		}
	}
	slices.SortStableFunc(out, func(a, b Finding) int { return cmp.Compare(b.Certainty, a.Certainty) })
	return out
}

// Unexplained is the finding for trouble whose cause is not known.
func Unexplained(f *Facts) *Finding {
	found := &Finding{
		Code: Unknown, Class: ClassOf(Unknown), Certainty: 0.2, Key: Normal(f.telling()),
		Title:   "It fails, and the cause is not known",
		Summary: cmp.Or(short(f.telling()), "Nothing that was printed or measured says why."),
	}
	found.Evidence = f.evidence()
	found.Suggestions = offered(f, found)
	return found
}

// evidence is what is known of every failure: the step, how it ended, and what
// was said last.
func (f *Facts) evidence() []Evidence {
	var out []Evidence
	if f.Problem != nil {
		text := f.Problem.What
		if f.Problem.Why != "" {
			text += ": " + f.Problem.Why
		}
		if f.Step != "" {
			text = "Step " + f.Step + " of " + f.Kind + ": " + text
		}
		out = append(out, Evidence{Kind: "step", Text: short(text), At: f.Now})
	}
	if f.Ended != nil {
		out = append(out, Evidence{Kind: "exit", Text: short(ending(f)), At: f.Ended.EndedAt})
	}
	if line := f.telling(); line != "" && (f.Problem == nil || len(f.Lines) > 0) {
		out = append(out, Evidence{Kind: "log", Text: short(line)})
	}
	return out
}

// ending says how the last run ended.
func ending(f *Facts) string {
	e := f.Ended
	text := "Instance " + e.ID
	switch {
	case e.OOMKilled:
		text += " was killed because it used more memory than it may"
	case e.Signal != "":
		text += " was ended by " + e.Signal
	case e.ExitCode != nil:
		text += " ended with exit code " + itoa(*e.ExitCode)
	default:
		text += " is " + string(e.State)
	}
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	return text
}
