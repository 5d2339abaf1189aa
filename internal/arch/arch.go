// Package arch holds the rules that keep this code readable while it grows,
// and checks them: which folder may import which, how long things may be, and
// what every exported name owes its reader. Its test is the only caller.
package arch

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Storey is the height at which a folder stands; imports go downwards only.
type Storey string

// The storeys, from the ground up.
const (
	Ground  Storey = "ground"  // words that everybody shares; imports the standard library
	Domain  Storey = "domain"  // what the portal is about; knows no technology
	Nested  Storey = "nested"  // adapter inside the domain folder whose interface it serves
	Adapter Storey = "adapter" // one technology behind an interface of the domain
	Edge    Storey = "edge"    // where requests come in
	Wiring  Storey = "wiring"  // puts the parts together
	Main    Storey = "main"    // programs
	Kit     Storey = "kit"     // public packages for authors of agents
	Agents  Storey = "agents"  // built-in agents, made with the kit alone
	Suite   Storey = "suite"   // test suites and fakes that several packages share
	Tool    Storey = "tool"    // programs and tests of the repository itself
)

// Folder is one row of the table of folders.
type Folder struct {
	Path    string // from the root of the module
	Storey  Storey
	Purpose string // in half a sentence
	// Sees are the folders of the same storey that it may import. Domain
	// packages that need to hear of each other otherwise use events.
	Sees []string
	// Std are packages of the standard library that its storey may not import
	// in general, and it may.
	Std []string
	// Pages says that the folder holds a file for each page.
	Pages bool
}

// Library is one row of the table of libraries.
type Library struct {
	Path    string   // import path, with everything below it
	Folders []string // that may import it, with everything below them
}

// Exception suspends one rule in one place.
type Exception struct {
	Rule  string
	Where string // as reported: folder, file or file:name
	Why   string
}

// Rules are the tables that a tree is held against.
type Rules struct {
	Module     string
	Folders    []Folder
	Libraries  []Library
	Exceptions []Exception
}

// Violation is one place where a rule does not hold.
type Violation struct {
	Rule  string
	Where string
	Text  string // what is wrong and what to do
}

// String is the violation on one line.
func (v Violation) String() string { return fmt.Sprintf("[%s] %s: %s", v.Rule, v.Where, v.Text) }

// file is one parsed source file.
type file struct {
	path      string // from the root
	folder    string
	test      bool
	generated bool
	lines     int
	ast       *ast.File
	fset      *token.FileSet
	imports   []string
}

// checker collects violations of one tree.
type checker struct {
	rules   Rules
	folders map[string]Folder
	files   []file
	found   []Violation
}

// Check reads all Go files of the tree and gives every violation that no
// exception covers, and every exception that nothing needs any more.
func Check(tree fs.FS, rules Rules) ([]Violation, error) {
	c := &checker{rules: rules, folders: map[string]Folder{}}
	for _, f := range rules.Folders {
		c.folders[f.Path] = f
	}
	if err := c.read(tree); err != nil {
		return nil, err
	}
	c.checkFolders()
	for _, f := range c.files {
		c.checkImports(f)
		c.checkSizes(f)
		c.checkTexts(f)
		c.checkSleep(f)
	}
	return c.except(), nil
}

func (c *checker) report(rule, where, text string, args ...any) {
	c.found = append(c.found, Violation{rule, where, fmt.Sprintf(text, args...)})
}

// skipped are folders without code of this module.
var skipped = regexp.MustCompile(`^(\..*|testdata|node_modules|bin|build|data|tools)$`)

var generatedMark = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

func (c *checker) read(tree fs.FS) error {
	fset := token.NewFileSet()
	return fs.WalkDir(tree, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if p != "." && skipped.MatchString(d.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		src, err := fs.ReadFile(tree, p)
		if err != nil {
			return err
		}
		parsed, err := parser.ParseFile(fset, p, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			c.report("syntax", p, "does not parse: %v", err)
			return nil
		}
		f := file{
			path: p, folder: path.Dir(p), ast: parsed, fset: fset,
			test:      strings.HasSuffix(p, "_test.go"),
			generated: generatedMark.Match(src),
			lines:     fset.Position(parsed.FileEnd).Line,
		}
		for _, im := range parsed.Imports {
			if name, err := strconv.Unquote(im.Path.Value); err == nil {
				f.imports = append(f.imports, name)
			}
		}
		c.files = append(c.files, f)
		return nil
	})
}

// except drops what the exceptions cover.
func (c *checker) except() []Violation {
	used := make([]bool, len(c.rules.Exceptions))
	out := slices.DeleteFunc(c.found, func(v Violation) bool {
		i := slices.IndexFunc(c.rules.Exceptions, func(e Exception) bool {
			return e.Rule == v.Rule && e.Where == v.Where
		})
		if i >= 0 {
			used[i] = true
		}
		return i >= 0
	})
	for i, e := range c.rules.Exceptions {
		if !used[i] {
			out = append(out, Violation{"exception", e.Where,
				fmt.Sprintf("nothing needs the exception from %q any more; remove it from the table", e.Rule)})
		}
	}
	return out
}

func (c *checker) storey(folder string) Storey { return c.folders[folder].Storey }
