package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// maxAgain is how many tests are run once more at most. More than that did not
// fail by chance.
const maxAgain = 4

// root gives the package and the test to which a failure belongs; ok is false
// for what is no test: a package that did not build, panicked or ran out of time.
func (f failure) root() (pkg, test string, ok bool) {
	pkg, test, ok = strings.Cut(f.key, " ")
	test, _, _ = strings.Cut(test, "/")
	return pkg, test, ok && test != "" && pkg != "build"
}

// printFailed prints a line for each package with the pattern of its tests that
// failed, if they are few.
func printFailed(w io.Writer, results string) error {
	r, err := readFile(results)
	if err != nil {
		return err
	}
	tests := map[string][]string{}
	n := 0
	for _, f := range r.failures {
		pkg, test, ok := f.root()
		if !ok {
			return nil
		}
		if !slices.Contains(tests[pkg], test) {
			tests[pkg] = append(tests[pkg], test)
			n++
		}
	}
	if n > maxAgain {
		return nil
	}
	for pkg, names := range tests {
		for i, name := range names {
			names[i] = regexp.QuoteMeta(name)
		}
		fmt.Fprintf(w, "%s ^(%s)$\n", pkg, strings.Join(names, "|"))
	}
	return nil
}

// settle takes out of the failures what passed when it was run once more, and
// keeps it apart, to be shown.
func (r *results) settle(second *results) {
	if second == nil {
		return
	}
	var left []failure
	for _, f := range r.failures {
		pkg, test, ok := f.root()
		if !ok || !second.passes[pkg+" "+test] {
			left = append(left, f)
			continue
		}
		r.flaky = append(r.flaky, f)
		r.failed--
		r.passed++
	}
	r.failures = left
}
