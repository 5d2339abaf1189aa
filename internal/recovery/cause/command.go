package cause

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

var (
	programs = []*regexp.Regexp{
		regexp.MustCompile(`(?i)exec: "([^"]+)": (?:executable file not found|no such file|stat |permission denied)`),
		regexp.MustCompile(`(?i)(?:fork/exec|exec) ([^\s:"]+): (?:no such file|permission denied|exec format error)`),
		regexp.MustCompile(`(?i)spawn (?:Sync )?([^\s:]+) (?:ENOENT|EACCES)`),
		regexp.MustCompile(`(?i)cannot run program "([^"]+)"`),
		regexp.MustCompile(`(?i)(?:sh|bash|dash|zsh|env|nohup|exec|line \d+): (?:\d+: )?(?:line \d+: )?(?:exec: )?['‘"]?([^\s:'’"]+)['’"]?: (?:command not found|not found|no such file or directory|permission denied|cannot execute)`),
		regexp.MustCompile(`(?i)command not found: ['"]?([^\s'"]+)`),
		regexp.MustCompile(`(?i)['"‘]?([^\s:'"’]+)['"’]?: (?:command not found|executable (?:file )?not found)`),
		regexp.MustCompile(`(?i)(?:executable|binary|program|command|tool)[ :]+['"‘]?([^\s'"’,]+)['"’]?[ ,]+(?:was |is |could |can )?(?:not (?:be )?found|missing|not installed|does not exist|not executable)`),
		regexp.MustCompile(`(?i)(?:could not|cannot|can't|unable to|failed to) (?:find|locate|start|run|execute|launch|exec|spawn) (?:the )?(?:executable|binary|program|command|tool)[ :]+['"‘]?([^\s'"’,:]+)`),
		regexp.MustCompile(`(?i)FileNotFoundError: .*No such file or directory: ['"]([^'"/.]+|/[^'"]*/s?bin/[^'"]+)['"]`),
		regexp.MustCompile(`(?i)the command "([^"]+)" cannot run`),
	}
	noInterpreter = regexp.MustCompile(`its interpreter (\S+) does not exist`)
	dataFile      = regexp.MustCompile(`(?i)\.(ya?ml|json|toml|ini|conf|cfg|env|properties|xml|txt|csv|db|pem|key|crt|so(\.\d+)*)$`)
)

// command: a program that is to be run is not there, or is none.
func command(f *Facts) *Finding {
	switch f.code() {
	case "command.not_found", "command.not_executable", "command.missing", "command.failed", "fleet.template_missing":
		name := f.Spec.Command
		if name == "" {
			name = f.Spec.Template
		}
		return commandFinding(f, name, 1, f.evidence())
	}
	code, known := f.exit()
	for _, p := range programs {
		m := last(f.texts(), p)
		if m == nil || dataFile.MatchString(m.groups[1]) {
			continue
		}
		certainty := 0.9
		if known && (code == 126 || code == 127) {
			certainty = 0.98
		}
		return commandFinding(f, m.groups[1], certainty, append([]Evidence{m.evidence()}, f.exitEvidence()...))
	}
	if known && (code == 126 || code == 127) {
		return commandFinding(f, f.Spec.Command, 0.8, f.evidence())
	}
	return nil
}

func (f *Facts) exitEvidence() []Evidence {
	if f.Ended == nil {
		return nil
	}
	return []Evidence{{Kind: "exit", Text: short(ending(f)), At: f.Ended.EndedAt}}
}

func commandFinding(f *Facts, name string, certainty float64, evidence []Evidence) *Finding {
	out := &Finding{
		Code: MissingBinary, Certainty: certainty, Key: path.Base(name), Evidence: evidence,
		Title:   fmt.Sprintf("The program %s is not there", name),
		Summary: fmt.Sprintf("It runs %s, which does not exist here or can't be run.", name),
	}
	interpreter := last(f.texts(), noInterpreter)
	if interpreter != nil {
		out.Title = fmt.Sprintf("The interpreter %s is not there", interpreter.groups[1])
		out.Summary = fmt.Sprintf("It runs the script %s, whose first line names a program that does not exist here.", name)
	}
	there, near := f.nearest(name)
	switch {
	case f.Find == nil, interpreter != nil:
	case there:
		out.Evidence = append(out.Evidence, Evidence{Kind: "host", Text: name + " is there now", At: f.Now})
	case len(near) > 0:
		out.Evidence = append(out.Evidence, Evidence{Kind: "host", Text: fmt.Sprintf("%s is nowhere in the path; %s is", name, strings.Join(near, ", ")), At: f.Now})
	default:
		out.Evidence = append(out.Evidence, Evidence{Kind: "host", Text: name + " is not there, and nothing has a similar name", At: f.Now})
	}
	if f.Good != nil && f.Good.Spec.Command != f.Spec.Command {
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("Revision %d ran %s; revision %d runs %s", f.Good.Revision, programOf(f.Good.Spec.Command, f.Good.Spec.Template), f.Revision, programOf(f.Spec.Command, f.Spec.Template))})
	}
	return out
}

func programOf(command, template string) string {
	if command == "" {
		return "the template " + template
	}
	return command
}

func (f *Facts) nearest(name string) (there bool, near []string) {
	if f.Find == nil || name == "" {
		return false, nil
	}
	there, near = f.Find(name)
	return there, slices.DeleteFunc(near, func(s string) bool { return s == name })
}
