package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name string, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func run(t *testing.T, minimum float64, checks string, results ...string) (bool, string) {
	t.Helper()
	var out strings.Builder
	profiles := []string{
		write(t, "a", "mode: atomic", "m/p/f.go:1.2,3.4 3 0", "m/p/f.go:5.2,6.4 1 7", "m/p/x.gen.go:1.1,2.2 100 0", "m/p/x_templ.go:1.1,2.2 100 0", "m/p/ptest/s.go:1.1,2.2 100 0"),
		write(t, "b", "mode: atomic", "m/p/f.go:1.2,3.4 3 1", "m/q/f.go:5.2,6.4 1 0"),
		filepath.Join(t.TempDir(), "missing"),
	}
	ok, err := report(&out, write(t, "r", results...), "", profiles, minimum, checks)
	if err != nil {
		t.Fatal(err)
	}
	return ok, out.String()
}

func lastOf(out string) string {
	lines := strings.Split(strings.TrimSpace(out), "\n")
	return lines[len(lines)-1]
}

const (
	passA  = `{"Action":"pass","Package":"m/p","Test":"TestA","Elapsed":0.5}`
	passP  = `{"Action":"pass","Package":"m/p","Elapsed":1.5}`
	outB   = `{"Action":"output","Package":"m/p","Test":"TestB","Output":"    f_test.go:7: got 1, want 2\n"}`
	failB  = `{"Action":"fail","Package":"m/p","Test":"TestB","Elapsed":0}`
	failP  = `{"Action":"fail","Package":"m/p","Elapsed":1.5}`
	skipC  = `{"Action":"skip","Package":"m/p","Test":"TestC","Elapsed":0}`
	outC   = `{"Action":"output","Package":"m/p","Test":"TestC","Output":"    f_test.go:9: no cgroup here\n"}`
	buildO = `{"Action":"build-output","ImportPath":"m/q","Output":"f.go:1: syntax error\n"}`
	buildF = `{"Action":"build-fail","ImportPath":"m/q"}`
	failQ  = `{"Action":"fail","Package":"m/q","Elapsed":0,"FailedBuild":"m/q"}`
	panicP = `{"Action":"output","Package":"m/p","Output":"panic: in TestMain\n"}`
)

func TestEverythingPasses(t *testing.T) {
	ok, out := run(t, 80, "", passA, outC, skipC, passP)
	if !ok || lastOf(out) != "1 passed, 0 failed, 1 skipped" {
		t.Fatalf("ok %v:\n%s", ok, out)
	}
	for _, want := range []string{"f_test.go:9: no cgroup here", "80.0 %  of 5 statements in all", "0.0 %  m/q  below"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}

func TestWhatFailsIsShownAndCounted(t *testing.T) {
	cases := map[string]struct {
		checks  string
		minimum float64
		lines   []string
		last    string
		shows   string
	}{
		"test":     {"", 0, []string{passA, outB, failB, failP}, "1 passed, 1 failed, 0 skipped", "got 1, want 2"},
		"build":    {"", 0, []string{passA, passP, buildO, buildF, failQ}, "1 passed, 1 failed, 0 skipped", "syntax error"},
		"package":  {"", 0, []string{passA, panicP, failP}, "1 passed, 1 failed, 0 skipped", "panic: in TestMain"},
		"check":    {"gofmt,go vet", 0, []string{passA, passP}, "1 passed, 2 failed, 0 skipped", "FAILED: go vet"},
		"coverage": {"", 85, []string{passA, passP}, "1 passed, 1 failed, 0 skipped", "80.0 % is below 85.0 %"},
		"nothing":  {"", 0, []string{passP}, "0 passed, 0 failed, 0 skipped", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			ok, out := run(t, c.minimum, c.checks, c.lines...)
			if ok || lastOf(out) != c.last || !strings.Contains(out, c.shows) {
				t.Fatalf("ok %v, want last line %q and %q in:\n%s", ok, c.last, c.shows, out)
			}
		})
	}
}

func TestAnythingElseThanResultsIsRefused(t *testing.T) {
	for _, lines := range [][]string{{"FAIL m/p"}, {`{"Action":"start","Package":"m/p"}`}} {
		if _, err := report(&strings.Builder{}, write(t, "r", lines...), "", nil, 0, ""); err == nil {
			t.Errorf("no error for %v", lines)
		}
	}
}

func TestWhatPassesTheSecondTimeIsShownAsFlaky(t *testing.T) {
	const (
		failSub = `{"Action":"fail","Package":"m/p","Test":"TestB/one","Elapsed":0}`
		passB   = `{"Action":"pass","Package":"m/p","Test":"TestB","Elapsed":0}`
		profile = "mode: atomic"
	)
	first := write(t, "first", passA, outB, failSub, failB, failP)
	var asked, out strings.Builder
	if err := printFailed(&asked, first); err != nil || asked.String() != "m/p ^(TestB)$\n" {
		t.Errorf("to run once more: %q, %v", asked.String(), err)
	}
	profiles := []string{write(t, "a", profile, "m/p/f.go:1.2,3.4 3 1")}
	ok, err := report(&out, first, write(t, "second", passB, passP), profiles, 0, "")
	if err != nil || !ok || lastOf(out.String()) != "3 passed, 0 failed, 0 skipped" || !strings.Contains(out.String(), "=== flaky") {
		t.Errorf("ok %v, %v:\n%s", ok, err, out.String())
	}
	out.Reset()
	if ok, err := report(&out, first, write(t, "second", failB, failP), profiles, 0, ""); ok || err != nil {
		t.Errorf("what fails twice passes: %v\n%s", err, out.String())
	}
}

func TestWhatDidNotFailByChanceIsNotRunAgain(t *testing.T) {
	many := []string{passA}
	for _, name := range []string{"B", "C", "D", "E", "F"} {
		many = append(many, strings.ReplaceAll(failB, "TestB", "Test"+name))
	}
	for name, lines := range map[string][]string{"many": append(many, failP), "build": {passA, buildO, buildF, failQ}, "panic": {passA, panicP, failP}} {
		var asked strings.Builder
		if err := printFailed(&asked, write(t, "r", lines...)); err != nil || asked.Len() > 0 {
			t.Errorf("%s: %q, %v", name, asked.String(), err)
		}
	}
}
