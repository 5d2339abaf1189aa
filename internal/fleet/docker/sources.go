package docker

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

// The files of a build that are known by their names. The second one takes the place
// of the third where both are there.
const (
	buildFile       = "Dockerfile"
	buildFileIgnore = buildFile + ".dockerignore"
	contextIgnore   = ".dockerignore"
)

// sources are the files that an image is built from.
type sources struct {
	root *os.Root
	list []string
	// ignore is what the engine reads as .dockerignore: it takes the build file and
	// that file itself, which it is always given, out of what is copied.
	ignore []byte
}

// sourcesOf finds the files of a directory that are not ignored; an error says why
// nothing can be built from it.
func sourcesOf(root *os.Root) (*sources, error) {
	if info, err := root.Stat(buildFile); err != nil || !info.Mode().IsRegular() {
		return nil, errors.New("it has no " + buildFile)
	}
	s := &sources{root: root}
	ignored, err := s.ignoring()
	if err != nil {
		return nil, err
	}
	var size int64
	seen := 0
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if seen++; seen > contextSeen {
			return fmt.Errorf("it holds more than %d files, with those that are ignored", contextSeen)
		}
		skip, within, err := ignored(name)
		if err != nil {
			return err
		}
		if skip && d.IsDir() && !within {
			return fs.SkipDir
		}
		if skip && name != buildFile || name == contextIgnore {
			return nil
		}
		info, err := d.Info()
		switch mode := d.Type(); {
		case err != nil:
			return err
		case mode != 0 && mode != fs.ModeDir && mode != fs.ModeSymlink:
			return errors.New(name + " is neither a file nor a directory")
		case mode == 0:
			size += info.Size()
		}
		if s.list = append(s.list, name); len(s.list) > contextFiles || size > contextBytes {
			return fmt.Errorf("it holds more than %d files or %d MiB", contextFiles, contextBytes>>20)
		}
		return nil
	})
	return s, err
}

// ignoring reads what is to be ignored, and gives what tells of a file whether it is,
// and of a directory that is whether something within it may not be. It is asked
// about a directory before what is within.
func (s *sources) ignoring() (func(name string) (skip, within bool, err error), error) {
	from := buildFileIgnore
	text, err := s.read(from)
	if errors.Is(err, fs.ErrNotExist) {
		from = contextIgnore
		text, err = s.read(from)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return func(string) (bool, bool, error) { return false, false, nil }, nil
	}
	var patterns []string
	if err == nil {
		patterns, err = ignorefile.ReadAll(bytes.NewReader(text))
	}
	var m *patternmatcher.PatternMatcher
	if err == nil {
		m, err = patternmatcher.New(patterns)
	}
	if err != nil {
		return nil, fmt.Errorf("its %s can't be followed: %w", from, err)
	}
	s.ignore = text
	if from != contextIgnore {
		s.ignore = append(append([]byte{}, text...), "\n"+contextIgnore+"\n"...)
	}
	matched := map[string]patternmatcher.MatchInfo{}
	return func(name string) (bool, bool, error) {
		skip, info, err := m.MatchesUsingParentResults(name, matched[path.Dir(name)])
		matched[name] = info
		return skip, m.Exclusions(), err
	}, nil
}

// read gives a small file of the directory.
func (s *sources) read(name string) ([]byte, error) {
	f, err := s.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, ignoreBytes+1))
	if err == nil && len(text) > ignoreBytes {
		err = fmt.Errorf("it is larger than %d KiB", ignoreBytes>>10)
	}
	return text, err
}

// pack writes an archive of the files.
func (s *sources) pack(w io.Writer) error {
	t := tar.NewWriter(w)
	if s.ignore != nil {
		if err := t.WriteHeader(&tar.Header{Name: contextIgnore, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(s.ignore))}); err != nil {
			return err
		}
		if _, err := t.Write(s.ignore); err != nil {
			return err
		}
	}
	for _, name := range s.list {
		if err := s.add(t, name); err != nil {
			return err
		}
	}
	return t.Close()
}

func (s *sources) add(t *tar.Writer, name string) error {
	info, err := s.root.Lstat(name)
	if err != nil {
		return err
	}
	link := ""
	if info.Mode().Type() == fs.ModeSymlink {
		if link, err = s.root.Readlink(name); err != nil {
			return err
		}
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname = name, 0, 0, "", ""
	if err := t.WriteHeader(h); err != nil || !info.Mode().IsRegular() {
		return err
	}
	f, err := s.root.Open(name)
	if err != nil {
		return err
	}
	_, err = io.CopyN(t, f, h.Size)
	return errors.Join(err, f.Close())
}
