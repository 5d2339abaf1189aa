package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// coverage counts statements, in all and by package.
type coverage struct {
	statements, covered int
	packages            map[string]*coverage
}

func (c *coverage) percent() float64 {
	if c.statements == 0 {
		return 0
	}
	return 100 * float64(c.covered) / float64(c.statements)
}

func (c *coverage) add(statements int, hit bool) {
	c.statements += statements
	if hit {
		c.covered += statements
	}
}

var suite = regexp.MustCompile(`[a-z]test(/|$)`)

// total merges profiles: a block counts as covered if any of them covers it.
func total(profiles []string) (*coverage, error) {
	blocks := map[string]block{}
	for _, p := range profiles {
		if err := readProfile(p, blocks); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	c := &coverage{packages: map[string]*coverage{}}
	for where, b := range blocks {
		file, _, _ := strings.Cut(where, ":")
		pkg := path.Dir(file)
		if strings.HasSuffix(file, ".gen.go") || strings.HasSuffix(file, "_templ.go") || suite.MatchString(pkg) {
			continue // generated, or test code that several packages share
		}
		if c.packages[pkg] == nil {
			c.packages[pkg] = &coverage{}
		}
		c.add(b.statements, b.hit)
		c.packages[pkg].add(b.statements, b.hit)
	}
	return c, nil
}

type block struct {
	statements int
	hit        bool
}

func readProfile(name string, into map[string]block) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Text()
		if strings.HasPrefix(line, "mode:") {
			continue
		}
		parts := strings.Fields(line)
		if len(parts) != 3 {
			return fmt.Errorf("%s: %q is not a line of a coverage profile", name, line)
		}
		n, err := strconv.Atoi(parts[1])
		if err != nil {
			return fmt.Errorf("%s: %q is not a line of a coverage profile", name, line)
		}
		into[parts[0]] = block{n, into[parts[0]].hit || parts[2] != "0"}
	}
	return sc.Err()
}

// print shows the total, and the packages that are below what is wanted.
func (c *coverage) print(w io.Writer, minimum float64) {
	fmt.Fprintln(w, "=== coverage")
	names := make([]string, 0, len(c.packages))
	for name := range c.packages {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		note := ""
		if c.packages[name].percent() < minimum {
			note = "  below the total that is wanted"
		}
		fmt.Fprintf(w, "%6.1f %%  %s%s\n", c.packages[name].percent(), name, note)
	}
	fmt.Fprintf(w, "%6.1f %%  of %d statements in all\n", c.percent(), c.statements)
}
