// Command testreport reads the output of "go test -json", shows what failed
// and what was slow, sums up the coverage of several profiles, and ends with
// the number of tests that passed, failed and were skipped.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

func main() {
	var profiles list
	results := flag.String("results", "", "`file` with the output of go test -json")
	flag.Var(&profiles, "profile", "coverage profile `file`; may be given several times, a missing one is ignored")
	minimum := flag.Float64("min", 0, "least total coverage in `percent`")
	checks := flag.String("failed-checks", "", "other checks that failed, separated by commas")
	again := flag.String("again", "", "`file` with the output of go test -json of those that failed, run once more by themselves; may be missing")
	failed := flag.Bool("failed", false, "only print the packages and patterns of the tests to run once more")
	flag.Parse()
	if *failed {
		if err := printFailed(os.Stdout, *results); err != nil {
			fmt.Fprintln(os.Stderr, "testreport:", err)
			os.Exit(1)
		}
		return
	}
	ok, err := report(os.Stdout, *results, *again, profiles, *minimum, *checks)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if !ok {
		os.Exit(1)
	}
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

// report writes everything; ok is whether all that has to hold does.
func report(w io.Writer, results, again string, profiles []string, minimum float64, checks string) (ok bool, err error) {
	r, err := readFile(results)
	if err != nil {
		return false, err
	}
	if again != "" {
		second, err := readFile(again)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return false, err
		}
		r.settle(second)
	}
	r.print(w)
	problems := splitList(checks)
	covered, err := total(profiles)
	switch {
	case err != nil:
		return false, err
	case covered.statements == 0:
		problems = append(problems, "coverage (no profile was written)")
	default:
		covered.print(w, minimum)
		if covered.percent() < minimum {
			problems = append(problems, fmt.Sprintf("coverage (%.1f %% is below %.1f %%)", covered.percent(), minimum))
		}
	}
	for _, p := range problems {
		fmt.Fprintln(w, "FAILED:", p)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed+len(problems), r.skipped)
	return r.failed == 0 && len(problems) == 0 && r.passed > 0, nil
}

func splitList(s string) []string {
	return slices.DeleteFunc(strings.Split(s, ","), func(p string) bool { return p == "" })
}

// event is one line of go test -json.
type event struct {
	Action      string
	Package     string
	ImportPath  string
	Test        string
	Elapsed     float64
	Output      string
	FailedBuild string
}

type timing struct {
	name    string
	seconds float64
}

// failure is what failed, with its output.
type failure struct{ key, text string }

type results struct {
	passed, failed, skipped int
	packages, tests         []timing
	failures                []failure
	flaky                   []failure       // failed, and passed when run once more
	passes                  map[string]bool // by package and test
	skips                   []string
	output                  map[string]*strings.Builder
	failedTests             map[string]bool // packages in which a test failed
}

func readFile(name string) (*results, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readResults(f)
}

func readResults(in io.Reader) (*results, error) {
	r := &results{output: map[string]*strings.Builder{}, failedTests: map[string]bool{}, passes: map[string]bool{}}
	sc := bufio.NewScanner(in)
	sc.Buffer(make([]byte, 1<<20), 64<<20)
	for sc.Scan() {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			return nil, fmt.Errorf("not the output of go test -json: %w", err)
		}
		r.add(e)
	}
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if len(r.packages) == 0 && r.failed == 0 {
		return nil, errors.New("go test reported no package")
	}
	return r, nil
}

func (r *results) add(e event) {
	key := e.Package + " " + e.Test
	if e.Action == "build-output" || e.Action == "build-fail" {
		key = "build " + e.ImportPath
	}
	switch e.Action {
	case "output", "build-output":
		r.keep(key, e.Output)
	case "build-fail":
		r.fail(key)
	case "pass", "fail", "skip":
		r.finish(e, key)
	}
}

// keep holds the output of a test until it is known to have passed; the
// newest 200 kB are enough to see why it did not.
func (r *results) keep(key, out string) {
	b := r.output[key]
	if b == nil {
		b = &strings.Builder{}
		r.output[key] = b
	}
	if b.Len() < 200_000 {
		b.WriteString(out)
	}
}

func (r *results) finish(e event, key string) {
	t := timing{strings.TrimSpace(key), e.Elapsed}
	if e.Test == "" {
		r.packages = append(r.packages, t)
		// A package that fails without a failed test did not build, panicked
		// outside a test, or ran out of time.
		if e.Action == "fail" && !r.failedTests[e.Package] && e.FailedBuild == "" {
			r.fail(key)
		}
		delete(r.output, key)
		return
	}
	r.tests = append(r.tests, t)
	switch e.Action {
	case "pass":
		r.passed++
		r.passes[key] = true
	case "skip":
		r.skipped++
		r.skips = append(r.skips, key+": "+lastLine(r.output[key]))
	case "fail":
		r.failedTests[e.Package] = true
		r.fail(key)
	}
	delete(r.output, key)
}

func (r *results) fail(key string) {
	r.failed++
	text := ""
	if b := r.output[key]; b != nil {
		text = b.String()
	}
	r.failures = append(r.failures, failure{key, text})
}

func lastLine(b *strings.Builder) string {
	if b == nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	for _, l := range slices.Backward(lines) {
		if !strings.HasPrefix(strings.TrimSpace(l), "---") && !strings.HasPrefix(l, "===") {
			return strings.TrimSpace(l)
		}
	}
	return ""
}

func (r *results) print(w io.Writer) {
	for _, part := range []struct {
		title string
		list  []failure
	}{{"failures", r.failures}, {"flaky: failed, and passed when run once more; each is a defect", r.flaky}} {
		if len(part.list) > 0 {
			fmt.Fprintln(w, "===", part.title)
		}
		for _, f := range part.list {
			fmt.Fprintf(w, "--- %s\n%s\n", strings.TrimSpace(f.key), f.text)
		}
	}
	if len(r.skips) > 0 {
		fmt.Fprintln(w, "=== skipped")
		for _, s := range r.skips {
			fmt.Fprintln(w, " ", s)
		}
	}
	printSlowest(w, "packages", r.packages)
	printSlowest(w, "tests", r.tests)
}

func printSlowest(w io.Writer, what string, all []timing) {
	slices.SortFunc(all, func(a, b timing) int {
		if a.seconds != b.seconds {
			if a.seconds > b.seconds {
				return -1
			}
			return 1
		}
		return strings.Compare(a.name, b.name)
	})
	fmt.Fprintf(w, "=== slowest %s\n", what)
	for _, t := range all[:min(10, len(all))] {
		fmt.Fprintf(w, "%7.1f s  %s\n", t.seconds, t.name)
	}
}
