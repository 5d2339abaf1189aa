package arch

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// below says which storeys a storey may import, beside its own parts.
var below = map[Storey][]Storey{
	Ground:  {},
	Domain:  {Ground},
	Nested:  {Domain, Ground},
	Adapter: {Domain, Ground},
	Edge:    {Domain, Ground},
	Wiring:  {Edge, Adapter, Nested, Agents, Kit, Domain, Ground},
	Main:    {Wiring, Edge, Nested, Agents, Kit, Domain, Ground},
	Kit:     {},
	Agents:  {Kit},
	Suite:   {Adapter, Nested, Domain, Ground, Kit},
	Tool:    {Tool, Wiring, Edge, Adapter, Nested, Agents, Kit, Domain, Ground},
}

// technology are packages of the standard library that reach outside the
// process. The ground and the domain leave them to adapters.
var technology = []string{"database/sql", "html/template", "net/http", "os/exec", "plugin", "syscall"}

var vague = regexp.MustCompile(`^(util|utils|common|helper|helpers|model|models|misc|base|shared|lib)$`)

const maxFiles = 20

// maxPages is for the folder that holds a file for each page.
const maxPages = 40

func (c *checker) checkFolders() {
	count := map[string]int{}
	for _, f := range c.files {
		count[f.folder] += 0
		if !f.test && !f.generated {
			count[f.folder]++
		}
	}
	for folder, n := range count {
		c.checkFolder(folder, n)
	}
	for _, f := range c.rules.Folders {
		if _, ok := count[f.Path]; !ok {
			c.report("folder", f.Path, "is in the table of folders but holds no Go file; remove the row")
		}
	}
}

func (c *checker) checkFolder(folder string, files int) {
	if row, ok := c.folders[folder]; !ok || row.Purpose == "" {
		c.report("folder", folder, "is not in the table of folders; add a row with its storey and its purpose (internal/arch/rules.go)")
	}
	if vague.MatchString(path.Base(folder)) {
		c.report("name", folder, "a folder is named after what it holds, and %q says nothing; name the noun, or put the code where it is used", path.Base(folder))
	}
	limit := maxFiles
	if c.folders[folder].Pages {
		limit = maxPages
	}
	if files > limit {
		c.report("size", folder, "%d files, and %d are allowed; split it by noun", files, limit)
	}
}

func (c *checker) checkImports(f file) {
	for _, name := range f.imports {
		switch {
		case name == c.rules.Module || strings.HasPrefix(name, c.rules.Module+"/"):
			c.checkOwn(f, strings.TrimPrefix(strings.TrimPrefix(name, c.rules.Module), "/"))
		case !strings.Contains(strings.SplitN(name, "/", 2)[0], "."):
			c.checkStd(f, name)
		default:
			c.checkLibrary(f, name)
		}
	}
}

func (c *checker) checkStd(f file, name string) {
	s := c.storey(f.folder)
	if f.test || (s != Ground && s != Domain) || !slices.Contains(technology, name) {
		return
	}
	if !slices.Contains(c.folders[f.folder].Std, name) {
		c.report("technology", f.path, "the %s does not import %s; move this to an adapter behind an interface, or allow it in the folder's row (Std) with a reason", s, name)
	}
}

func (c *checker) checkLibrary(f file, name string) {
	row := slices.IndexFunc(c.rules.Libraries, func(l Library) bool { return within(name, l.Path) })
	if row < 0 {
		c.report("library", f.path, "imports %s, which is not in the table of libraries; add it with the one folder that may use it", name)
		return
	}
	if f.test || c.storey(f.folder) == Suite {
		return // a test may look at the real thing
	}
	folders := c.rules.Libraries[row].Folders
	if !slices.ContainsFunc(folders, func(in string) bool { return within(f.folder, in) }) {
		c.report("library", f.path, "imports %s, which is for %s; use an interface that is served there", name, strings.Join(folders, ", "))
	}
}

// checkOwn checks an import of a folder of this module.
func (c *checker) checkOwn(f file, to string) {
	from, target := c.folders[f.folder], c.folders[to]
	switch {
	case f.test || from.Storey == "" || target.Storey == "":
		return // tests may; an unlisted folder is reported elsewhere
	case target.Storey == Suite:
		if from.Storey != Suite {
			c.report("arrow", f.path, "imports the test suite %s; only tests do", to)
		}
	case from.Storey == target.Storey && slices.Contains(from.Sees, to):
		return
	case partOfOneAnother(f.folder, to) && (from.Storey == target.Storey || from.Storey == Suite):
		return
	case from.Storey == target.Storey && from.Storey == Domain:
		c.report("arrow", f.path, "imports %s; if the domain really needs this edge list it under Sees, else publish on event", to)
	case !slices.Contains(below[from.Storey], target.Storey):
		c.report("arrow", f.path, "imports %s, and %s does not import %s; declare an interface here and let internal/portal fill it", to, from.Storey, target.Storey)
	}
}

// partOfOneAnother tells whether one folder lies in the other or both lie in
// the same folder of internal, as cli and cli/client do.
func partOfOneAnother(a, b string) bool { return within(a, b) || within(b, a) }

func within(name, root string) bool { return name == root || strings.HasPrefix(name, root+"/") }
