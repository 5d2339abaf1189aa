package diagnosis

import (
	"regexp"
	"slices"
	"strings"
)

// Hidden is what stands in place of a secret.
const Hidden = "[hidden]"

// patterns find secrets by how they are written. What is between the first and
// the last group is hidden.
var patterns = []*regexp.Regexp{
	// scheme://user:password@host and scheme://token@host
	regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^/\s"'<>?#]+)(@)`),
	// Authorization: Bearer xyz
	regexp.MustCompile(`(?i)(\b(?:bearer|basic|token)\s+)([A-Za-z0-9+/=._~-]{8,})()`),
	// "password": "xyz", also in JSON within JSON
	regexp.MustCompile(`(?i)(["'][\w.-]*(?:passw|secret|token|api_?-?key|private_?-?key|credential|authorization|cookie)[\w.-]*\\*["']\s*:\s*\\*["'])((?:[^"'\\]|\\[^"'])+)()`),
	// password=xyz, --token xyz=…, also in queries of URLs
	regexp.MustCompile(`(?i)(\b[\w.-]*(?:passw(?:or)?d|secret|token|api_?-?key|private_?-?key|credential)[\w.-]*\s*=\s*)([^\s&"',;]+)()`),
	// a private key in its usual form
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----)(.+?)(-----END)`),
	// the portal's own tokens
	regexp.MustCompile(`()(\bpt[a-z]_[0-9A-Za-z._-]{20,})()`),
	// JSON Web Tokens
	regexp.MustCompile(`()(\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)()`),
}

// Redact takes out of a text what is written like a secret: passwords in URLs,
// bearer tokens, values of names such as password or api_key, private keys.
func Redact(text string) string {
	for _, p := range patterns {
		text = p.ReplaceAllString(text, "${1}"+Hidden+"${3}")
	}
	return text
}

// minSecret is the shortest value that is hidden wherever it stands; what is
// shorter is hardly a secret and would tear holes into every text.
const minSecret = 6

// Redactor takes out of texts what is known to be secret, however it is
// written, and what Redact finds.
type Redactor struct{ known *strings.Replacer }

// NewRedactor makes one for the secrets that are known.
func NewRedactor(secrets []string) Redactor {
	var values []string
	for _, s := range secrets {
		if s = strings.TrimSpace(s); len(s) >= minSecret {
			values = append(values, s)
			// A secret of several lines is found line by line, as logs show it.
			for line := range strings.Lines(s) {
				if line = strings.TrimSpace(line); line != s && len(line) >= 16 {
					values = append(values, line)
				}
			}
		}
	}
	slices.SortFunc(values, func(a, b string) int { return len(b) - len(a) }) // the longest first
	values = slices.Compact(values)
	pairs := make([]string, 0, 2*len(values))
	for _, v := range values {
		for _, written := range forms(v) {
			pairs = append(pairs, written, Hidden)
		}
	}
	return Redactor{strings.NewReplacer(pairs...)}
}

// Text gives the text without secrets.
func (r Redactor) Text(text string) string {
	if r.known != nil {
		text = r.known.Replace(text)
	}
	return Redact(text)
}
