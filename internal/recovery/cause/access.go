package cause

import (
	"regexp"
	"time"
)

var (
	skewed  = regexp.MustCompile(`(?i)clock[ -]?(skew|drift|is (ahead|behind|wrong|off)|out of sync|difference|offset|mismatch|jump)|skew(ed)?\b|RequestTimeTooSkewed|not (yet|before) valid|is not yet valid|not active yet|used before issued|issued (at|in) .{0,20}future|in the future|ImmatureSignature|NotBeforeError|time (is )?(out of sync|drift|skew|difference)|system (clock|time)|timestamp\b.{0,50}(outside|window|tolerance|future|ahead|behind|too (old|new|far))|\bNTP\b|too far in the (past|future)|clocks? (differ|disagree)|local time`)
	expired = regexp.MustCompile(`(?i)\bexpired?\b|ExpiredSignature|TokenExpired|ExpiredToken|expiry|invalid_grant|\b401\b|unauthori[sz]ed|authorization violation|authentication (failed|failure|error|required|rejected)|(invalid|bad|wrong|revoked|rejected|stale|old|outdated) (\w+ )?(credential|token|password|api[- ]?key|secret|certificate)|(credential|token|password|api[- ]?key|secret|certificate|session|lease)s?\b.{0,40}(invalid|revoked|rejected|not accepted|no longer|refused|out of date|lapsed|has ended)|login (failed|incorrect)|(not authenticated|please re-?authenticate|re-?login)|\bnats: authorization|access token`)
	denied  = regexp.MustCompile(`(?i)\b403\b|forbidden|access denied|not authori[sz]ed`)
)

// clock: somebody's clock is wrong.
func clock(f *Facts) *Finding {
	m := last(f.texts(), skewed)
	if m == nil {
		return nil
	}
	return &Finding{
		Code: ClockSkew, Certainty: 0.96, Key: "clock", Evidence: append([]Evidence{m.evidence(), {Kind: "host", Text: "The clock of this machine says " + f.Now.UTC().Format(time.RFC3339), At: f.Now}}, f.exitEvidence()...),
		Title:   "Its clock and that of another disagree",
		Summary: "What it sends or gets is refused because the times in it are from the future or the past.",
	}
}

// credential: what it proves itself with is not accepted any more.
func credential(f *Facts) *Finding {
	m := last(f.texts(), expired)
	certainty := 0.94
	if m == nil {
		m, certainty = last(f.texts(), denied), 0.8
	}
	if m == nil {
		return nil
	}
	return &Finding{
		Code: ExpiredCredential, Certainty: certainty, Key: "credential", Evidence: append([]Evidence{m.evidence()}, f.exitEvidence()...),
		Title:   "Its credential is not accepted any more",
		Summary: "What it proves itself with has expired, was revoked, or is not the right one.",
	}
}
