package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/waooaw/platform-portal/internal/manifest"
)

// view is one answer in all forms: raw for scripts, the rest for people.
type view struct {
	raw   any // printed for -o json and yaml: a json.RawMessage or anything that encodes
	names []string
	head  []string
	rows  [][]string
	// text is printed instead of a table, if it is set.
	text string
	// empty is printed to stderr where the table has no row.
	empty string
}

// formats are the accepted values of -o.
func (a *app) checkOutput() error {
	switch a.output {
	case "", "table", "json", "yaml", "name":
		return nil
	}
	return usagef("-o %q is not a format; use table, json, yaml or name", a.output)
}

// show prints the view in the form that was asked for.
func (a *app) show(v view) error {
	switch a.output {
	case "json":
		return printJSON(a.io.Out, v.raw)
	case "yaml":
		return printYAML(a.io.Out, v.raw)
	case "name":
		for _, n := range v.names {
			fmt.Fprintln(a.io.Out, clean(n))
		}
		return nil
	}
	if v.text != "" {
		_, err := io.WriteString(a.io.Out, v.text)
		return err
	}
	if len(v.rows) == 0 && v.empty != "" {
		fmt.Fprintln(a.io.Err, v.empty)
		return nil
	}
	return a.table(v.head, v.rows)
}

// table prints aligned columns with a heading.
func (a *app) table(head []string, rows [][]string) error {
	widths := make([]int, len(head))
	all := append([][]string{head}, rows...)
	for _, row := range all {
		for i := range row {
			row[i] = clean(row[i])
			if row[i] == "" {
				row[i] = "-"
			}
			widths[i] = max(widths[i], width(row[i]))
		}
	}
	var b strings.Builder
	for n, row := range all {
		for i, cell := range row {
			text := cell
			if n > 0 {
				text = a.colour(cell)
			}
			b.WriteString(text)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-width(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(a.io.Out, b.String())
	return err
}

// paint are the words that get a colour on a terminal.
var paint = map[string]string{
	"RUNNING": "32", "healthy": "32", "SUCCEEDED": "32", "succeeded": "32", "done": "32", "ok": "32",
	"ERRORED": "31", "unhealthy": "31", "FAILED": "31", "failed": "31", "no": "31", "lost": "31",
	"SUSPENDED": "33", "degraded": "33", "PAUSED": "33", "CANCELLING": "33", "CANCELLED": "33",
	"cancelled": "33", "backoff": "33", "refused": "33", "rolled_back": "33", "starting": "36", "warning": "33",
	"running": "32", "PENDING": "36", "pending": "36", "REVOKED": "90", "skipped": "90",
}

func (a *app) colour(cell string) string {
	code, ok := paint[cell]
	if !ok || !a.io.OutTTY || a.io.Getenv("NO_COLOR") != "" || a.io.Getenv("TERM") == "dumb" {
		return cell
	}
	return "\x1b[" + code + "m" + cell + "\x1b[0m"
}

// printJSON writes indented JSON in which no string holds a character that a
// terminal would act on; it decodes to the same value.
func printJSON(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, data, "", "  "); err != nil {
		return err
	}
	out.WriteByte('\n')
	_, err = io.WriteString(w, escapeJSON(out.String()))
	return err
}

// escapeJSON escapes inside strings; outside of them JSON is plain ASCII.
func escapeJSON(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n' || !unsafe(r):
			b.WriteRune(r)
		case r > 0xFFFF: // as a surrogate pair
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xD800+(r>>10), 0xDC00+(r&0x3FF))
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// printYAML writes the JSON form of v as YAML, in its order of fields.
func printYAML(w io.Writer, v any) error {
	text, err := toYAML(v)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// toYAML relies on the encoder putting every text with unusual characters into
// double quotes, where escapes mean the same.
func toYAML(v any) (string, error) {
	text, err := manifest.Encode(v, "yaml")
	if err != nil {
		return "", err
	}
	return escapeYAML(string(text)), nil
}

func escapeYAML(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r == '\n' || !unsafe(r) {
			b.WriteRune(r)
		} else {
			b.WriteString(escaped(r))
		}
	}
	return b.String()
}

// since says how long ago something was, in the largest unit that fits.
func (a *app) since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return span(a.io.Now().Sub(t).Truncate(time.Second))
}

func span(d time.Duration) string {
	switch d = max(d, 0); {
	case d > 0 && d < time.Second:
		return fmt.Sprintf("%dms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// say tells people what was done; with -o json, yaml or name stdout belongs to
// the answer, so it goes to stderr there.
func (a *app) say(format string, args ...any) {
	w := a.io.Out
	if a.output != "" && a.output != "table" {
		w = a.io.Err
	}
	fmt.Fprintln(w, clean(fmt.Sprintf(format, args...)))
}

// warn tells people what they should know, on stderr.
func (a *app) warn(warnings ...string) {
	for _, w := range warnings {
		fmt.Fprintln(a.io.Err, "Warning:", clean(w))
	}
}

// confirm asks before something that can't be taken back. Where nobody can be
// asked, --yes has to have been given.
func (a *app) confirm(yes bool, question string) error {
	if yes {
		return nil
	}
	if !a.io.InTTY {
		return usagef("this can't be taken back and there is no terminal to ask on; add --yes")
	}
	fmt.Fprint(a.io.Err, clean(question)+" [y/N] ")
	answer, _ := bufio.NewReader(a.io.In).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(a.io.Err, "Nothing was done.")
	return codeError(exitFailed)
}

// Text from the server may hold what agents and their authors wrote. Shown on
// a terminal as it is, it could move the cursor, recolour or retitle the
// window, or reorder what the reader sees.

// clean makes text safe for one line on a terminal: control and reordering
// characters and broken UTF-8 are shown as escapes.
func clean(s string) string { return escape(s, false) }

// cleanLine is clean, but leaves tabs, which log lines are full of.
func cleanLine(s string) string { return escape(s, true) }

func escape(s string, tabs bool) string {
	if !strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unsafe(r) }) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\t' && tabs:
			b.WriteByte('\t')
		case unsafe(r):
			b.WriteString(escaped(r))
		default:
			b.WriteRune(r)
		}
		i += size
	}
	return b.String()
}

// unsafe tells whether a terminal may do anything else with the character than
// show it where it stands.
func unsafe(r rune) bool {
	switch {
	case unicode.IsControl(r): // C0, DEL and C1
		return true
	case r == 0x061C, r == 0x200E, r == 0x200F, // marks of direction
		r >= 0x202A && r <= 0x202E, r >= 0x2066 && r <= 0x2069, // embeddings, overrides, isolates
		r == 0x2028, r == 0x2029, // line and paragraph separators
		r == 0x200B, r >= 0x2060 && r <= 0x2064, r == 0xFEFF, // invisible
		r >= 0xFFF9 && r <= 0xFFFB,   // annotations
		r >= 0xE0000 && r <= 0xE0FFF: // tags
		return true
	}
	return false
}

func escaped(r rune) string {
	switch r {
	case '\n':
		return `\n`
	case '\r':
		return `\r`
	case '\t':
		return `\t`
	}
	if r > 0xFFFF {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// width is the number of columns that cleaned text takes on a terminal.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me) || r == 0x200D || r >= 0xFE00 && r <= 0xFE0F:
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

func wide(r rune) bool {
	return r >= 0x1100 && (r <= 0x115F || r >= 0x2E80 && r <= 0xA4CF || r >= 0xAC00 && r <= 0xD7A3 ||
		r >= 0xF900 && r <= 0xFAFF || r >= 0xFE30 && r <= 0xFE6F || r >= 0xFF00 && r <= 0xFF60 ||
		r >= 0xFFE0 && r <= 0xFFE6 || r >= 0x1F300 && r <= 0x1FAFF || r >= 0x20000 && r <= 0x3FFFD)
}
