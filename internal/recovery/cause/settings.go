package cause

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

var (
	// A name as programs write variables.
	variableName = regexp.MustCompile(`\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+|[A-Z][A-Z0-9]{2,})\b`)
	absence      = regexp.MustCompile(`(?i)\b(not set|unset|isn't set|missing|required|requires|undefined|not defined|must be (set|defined|provided|specified|given)|must set|is empty|has no value|no value for|not found|unbound|not provided|not specified|not configured|absent|needs? (to be )?set|not present|parameter null|lookup failed|does not exist|could not resolve placeholder|blank|mandatory|expected|set (the )?\S+ (environment )?variable)\b|KeyError|NoSuchElement|process\.env\.|is null|= ?null|nil value|undefined`)
	aboutEnv     = regexp.MustCompile(`(?i)\benv(ironment)?\b|\bvar(iable)?s?\b|getenv|KeyError|process\.env|os\.environ|placeholder|\bsetting\b|\bsecret\b|unbound|parameter (null|not set)|\bconfig`)
	undefinedRef = regexp.MustCompile(`\$\(([A-Za-z_][A-Za-z0-9_]*)\) is not a variable`)
	secretField  = regexp.MustCompile(`secrets\.([A-Za-z_][A-Za-z0-9_]*)`)
	lowerName    = regexp.MustCompile(`(?i)(?:environment variable|env(?:ironment)? var(?:iable)?|\bvariable|placeholder)[ :=]+['"‘$\{]*([A-Za-z_][A-Za-z0-9_.]*)`)
)

// noVariables are words in capitals that are none.
var noVariables = []string{
	"ERROR", "FATAL", "WARN", "WARNING", "INFO", "DEBUG", "TRACE", "PANIC", "CRITICAL", "SEVERE", "NULL", "HTTP", "HTTPS", "JSON", "YAML", "TOML",
	"URL", "URI", "TCP", "UDP", "TLS", "SSL", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OK", "API", "SQL", "DNS", "EOF", "UTC", "GMT", "CPU", "RAM", "OOM",
	"SIGKILL", "SIGTERM", "SIGSEGV", "SIGABRT", "POSIX", "ASCII", "UTF", "AND", "NOT", "THE", "FAILED", "MISSING", "REQUIRED", "UNSET", "ENV",
}

// variable: a variable that the program needs is not in its environment.
func variable(f *Facts) *Finding {
	texts := f.texts()
	switch f.code() {
	case "agent.unknown_variable", "fleet.secret_missing", "agent.invalid":
		for _, p := range []*regexp.Regexp{undefinedRef, secretField} {
			if m := last(texts, p); m != nil {
				return variableFinding(f, m.groups[1], 1, f.evidence())
			}
		}
	}
	if !f.failed() && f.Health == "healthy" {
		return nil
	}
	for i := len(texts) - 1; i >= 0; i-- {
		if !absence.MatchString(texts[i]) {
			continue
		}
		if name, sure := f.absent(texts[i]); name != "" {
			return variableFinding(f, name, sure, []Evidence{{Kind: "log", Text: short(texts[i])}})
		}
	}
	return nil
}

// absent gives the variable that the line says is not there, and how sure that is.
func (f *Facts) absent(line string) (string, float64) {
	env := aboutEnv.MatchString(line)
	for _, g := range variableName.FindAllStringSubmatch(line, -1) {
		name := g[1]
		if slices.Contains(noVariables, name) || errno.MatchString(name) || !strings.Contains(name, "_") && !env {
			continue
		}
		if f.Environment[name] {
			continue // it is there; what is wrong with it is another matter
		}
		if f.Environment != nil && (env || f.Good != nil && f.Good.Spec.Env[name] != "") {
			return name, 0.97
		}
		return name, 0.85
	}
	if m := lowerName.FindStringSubmatch(line); m != nil && !f.Environment[m[1]] && !strings.EqualFold(m[1], "is") && !strings.EqualFold(m[1], "not") {
		return strings.TrimRight(m[1], "."), 0.8
	}
	return "", 0
}

var errno = regexp.MustCompile(`^(E[A-Z]{3,}\d*|WSAE[A-Z]+|SIG[A-Z]+|ERR_[A-Z_]+|HTTP_\d+)$`)

func variableFinding(f *Facts, name string, certainty float64, evidence []Evidence) *Finding {
	out := &Finding{
		Code: MissingVariable, Certainty: certainty, Key: name, Evidence: evidence,
		Title:   fmt.Sprintf("The variable %s is not set", name),
		Summary: fmt.Sprintf("The program needs the environment variable %s, and its specification does not set it.", name),
	}
	switch {
	case f.Good != nil && f.Good.Spec.Env[name] != "":
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("Revision %d set %s; revision %d does not", f.Good.Revision, name, f.Revision)})
	case f.Environment != nil:
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("None of the %d variables of its instances is %s", len(f.Environment), name)})
	}
	return out
}

var (
	wrongValue = regexp.MustCompile(`(?i)\b(invalid|bad|malformed|unrecogni[sz]ed|unknown|illegal|unsupported|unexpected|incorrect|wrong|corrupt|inconsistent)\b|` +
		`(can't|cannot|could not|couldn't|failed to|unable to|error|errors?) (while )?(pars|load|read|decod|unmarshal|validat|interpret|convert)|(parse|parsing|syntax|validation|decode|format) (error|failed|failure)|` +
		`not a (valid|number|boolean|bool)\b|not valid|out of range|must be (a|an|one of|between|positive|greater|less|at (least|most)|in)\b|mapping values are not allowed|strconv\.|NumberFormatException|` +
		`(YAML|JSON|TOML|Config\w*)(Error|Exception|DecodeError)|JSONDecodeError|ScannerError|ValidationError|IllegalArgument|ValueError|invalid literal|unmarshal|is not allowed|no such option|flag provided but not defined|usage:`)
	aboutConfig = regexp.MustCompile(`(?i)\b(config\w*|configuration|settings?|options?|flags?|ya?ml|json|toml|ini|propert(y|ies)|parameters?|env(ironment)?|variables?|arguments?|args?|schema|manifest|profile|\w+\.(ya?ml|json|toml|ini|conf|cfg|properties))\b`)
	runtimeData = regexp.MustCompile(`(?i)\b(message|payload|request|response|task|record|row|event|packet)\b`)
)

// configuration: a setting has a value that the program refuses.
func configuration(f *Facts) *Finding {
	switch c := f.code(); {
	case c == "volume.path" || c == "agent.invalid_port" || c == "command.invalid" || c == "agent.invalid":
		return configFinding(f, "", 0.95, f.evidence())
	}
	if !f.failed() && f.Health == "healthy" {
		return nil
	}
	code, _ := f.exit()
	texts := f.texts()
	for i := len(texts) - 1; i >= 0; i-- {
		line := texts[i]
		if !wrongValue.MatchString(line) {
			continue
		}
		setting := f.setting(line)
		about := aboutConfig.MatchString(line)
		certainty := 0.0
		switch {
		case setting != "" && about:
			certainty = 0.95
		case setting != "":
			certainty = 0.88
		case about && (code == 78 || code == 64 || code == 2):
			certainty = 0.93
		case about && !runtimeData.MatchString(line):
			certainty = 0.86
		case about:
			certainty = 0.6
		}
		if certainty > 0 {
			return configFinding(f, setting, certainty, append([]Evidence{{Kind: "log", Text: short(line)}}, f.exitEvidence()...))
		}
	}
	if code == 78 {
		return configFinding(f, "", 0.85, f.evidence())
	}
	return nil
}

// setting gives the variable of the specification that the line is about: by
// name, or by its value.
func (f *Facts) setting(line string) string {
	for _, name := range sorted(f.Spec.Env) {
		if word(line, name) {
			return name
		}
	}
	for _, name := range sorted(f.Spec.Env) {
		v := f.Spec.Env[name]
		changed := f.Good == nil || f.Good.Spec.Env[name] != v
		if changed && len(v) >= 5 && word(line, v) {
			return name
		}
	}
	return ""
}

// word tells whether the text holds the word, not as a part of another.
func word(text, w string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], w)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(w)
		if (i == 0 || !wordy(text[i-1])) && (end == len(text) || !wordy(text[end])) {
			return true
		}
		from = i + 1
	}
}

func wordy(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func configFinding(f *Facts, name string, certainty float64, evidence []Evidence) *Finding {
	out := &Finding{
		Code: BadConfig, Certainty: certainty, Key: name, Evidence: evidence,
		Title:   "Its configuration is not valid",
		Summary: "The program refuses a part of its configuration.",
	}
	if name != "" {
		out.Title = fmt.Sprintf("The value of %s is not valid", name)
		out.Summary = fmt.Sprintf("The program refuses the value of the variable %s.", name)
	}
	if f.Good != nil && name != "" && f.Good.Spec.Env[name] != f.Spec.Env[name] {
		out.Evidence = append(out.Evidence, Evidence{Kind: "spec", Text: fmt.Sprintf("Revision %d, which ran well, had another value of %s", f.Good.Revision, name)})
	}
	return out
}
