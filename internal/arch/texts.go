package arch

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strings"
)

const (
	maxFunction  = 80
	maxFile      = 400
	maxTestFile  = 600 // cases in tables are long without being hard to read
	maxInterface = 8
)

func (c *checker) checkSizes(f file) {
	if f.generated {
		return
	}
	limit := maxFile
	if f.test {
		limit = maxTestFile
	}
	if f.lines > limit {
		c.report("size", f.path, "%d lines, and %d are allowed; split it by what changes together", f.lines, limit)
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			lines := f.fset.Position(n.End()).Line - f.fset.Position(n.Pos()).Line + 1
			if lines > maxFunction {
				c.report("size", f.path+":"+n.Name.Name, "%d lines, and %d are allowed; name its parts", lines, maxFunction)
			}
		case *ast.TypeSpec:
			if it, ok := n.Type.(*ast.InterfaceType); ok && len(it.Methods.List) > maxInterface {
				c.report("size", f.path+":"+n.Name.Name, "%d methods, and %d are allowed; split it by who needs what", len(it.Methods.List), maxInterface)
			}
		}
		return true
	})
}

var unfinished = regexp.MustCompile(`\b(TODO|FIXME|XXX|HACK)\b`)

func (c *checker) checkTexts(f file) {
	if f.generated {
		return
	}
	for _, group := range f.ast.Comments {
		if mark := unfinished.FindString(group.Text()); mark != "" {
			c.report("unfinished", f.path, "a comment says %s; do it, or write an issue and say what is so", mark)
		}
	}
	if f.test || f.ast.Name.Name == "main" {
		return
	}
	for _, decl := range f.ast.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			c.checkFuncDoc(f, d)
		case *ast.GenDecl:
			c.checkDeclDoc(f, d)
		}
	}
}

// obvious are methods whose meaning the standard library fixes.
var obvious = []string{"Error", "String", "Unwrap"}

func (c *checker) checkFuncDoc(f file, d *ast.FuncDecl) {
	name := d.Name.Name
	if !d.Name.IsExported() || d.Doc != nil || (d.Recv != nil && slices.Contains(obvious, name)) {
		return
	}
	if d.Recv != nil {
		recv := receiver(d.Recv.List[0].Type)
		if !ast.IsExported(recv) {
			return
		}
		name = recv + "." + name
	}
	c.undocumented(f, name)
}

func receiver(t ast.Expr) string {
	switch t := t.(type) {
	case *ast.StarExpr:
		return receiver(t.X)
	case *ast.IndexExpr:
		return receiver(t.X)
	case *ast.IndexListExpr:
		return receiver(t.X)
	case *ast.Ident:
		return t.Name
	}
	return ""
}

// checkDeclDoc accepts a comment on the group, above the name or beside it.
func (c *checker) checkDeclDoc(f file, d *ast.GenDecl) {
	if d.Tok == token.IMPORT {
		return
	}
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && s.Doc == nil && (d.Doc == nil || d.Lparen.IsValid()) && s.Comment == nil {
				c.undocumented(f, s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, n := range s.Names {
				if n.IsExported() && s.Doc == nil && s.Comment == nil && d.Doc == nil {
					c.undocumented(f, n.Name)
				}
			}
		}
	}
}

func (c *checker) undocumented(f file, name string) {
	c.report("doc", f.path+":"+name, "is exported without a comment; say what it is for, its units and its errors")
}

// checkSleep finds time.Sleep. In a bubble of testing/synctest it costs no
// time and is right.
func (c *checker) checkSleep(f file) {
	if f.generated {
		return
	}
	ast.Inspect(f.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := selector(call.Fun)
		if strings.HasPrefix(name, "synctest.") {
			return false
		}
		if name == "time.Sleep" {
			where := f.path + ":" + enclosing(f, call.Pos())
			if f.test || c.storey(f.folder) == Suite {
				c.report("sleep", where, "a test that sleeps is slow or flaky; use testing/synctest, a channel, or poll with a deadline and a ticker")
			} else {
				c.report("sleep", where, "a sleep can't be cancelled; wait on a timer and the context")
			}
		}
		return true
	})
}

func selector(e ast.Expr) string {
	if s, ok := e.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

func enclosing(f file, pos token.Pos) string {
	for _, d := range f.ast.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Pos() <= pos && pos < fn.End() {
			return fn.Name.Name
		}
	}
	return ""
}
