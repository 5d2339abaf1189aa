package cargo_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/waooaw/platform-portal/internal/fleet/cargo"
)

// full gives a directory with everything that is carried, and something that is not.
func full(t *testing.T) *os.Root {
	t.Helper()
	root := open(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.MkdirAll("deep/er", 0o700))
	must(root.MkdirAll("empty", 0o700))
	must(root.WriteFile("deep/er/note", []byte("a note"), 0o640))
	must(root.WriteFile("run", []byte("#!/bin/sh\n"), 0o755))
	must(root.WriteFile("nothing", nil, 0o400))
	must(root.WriteFile("ünïcode "+strings.Repeat("long", 40), bytes.Repeat([]byte{0, 1, 2}, 100_000), 0o600))
	must(root.Symlink("/etc/passwd", "outside"))
	must(root.Symlink("deep/er/note", "inside"))
	must(root.Link("run", "second"))
	must(syscall.Mkfifo(filepath.Join(root.Name(), "pipe"), 0o600))
	must(root.Chtimes("deep/er/note", time.Unix(1000, 0), time.Unix(1000, 0)))
	must(root.Chmod("deep", 0o500))
	t.Cleanup(func() { _ = root.Chmod("deep", 0o700) })
	return root
}

func open(t *testing.T) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root
}

func packed(t *testing.T, root *os.Root) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := cargo.Pack(t.Context(), root, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func passed(t *testing.T, archive []byte) ([]byte, cargo.Tally) {
	t.Helper()
	var b bytes.Buffer
	tally, err := cargo.Pass(&b, bytes.NewReader(archive), cargo.Owner{UID: 7, GID: 8})
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), tally
}

func TestContentArrivesAsItWas(t *testing.T) {
	from, to := full(t), open(t)
	archive, tally := passed(t, packed(t, from))
	if tally.Files != 10 || tally.Bytes != 300_000+6+10+10 || tally.Skipped != 1 {
		t.Errorf("passed on %+v", tally)
	}
	// What was there is gone, and so is what a copy left that was cut off.
	if err := errors.Join(to.MkdirAll("old/stuff", 0o700), to.WriteFile("nothing", []byte("something"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := cargo.Unpack(t.Context(), to, bytes.NewReader(archive[:len(archive)/2])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut off: %v", err)
	}
	if err := cargo.Unpack(t.Context(), to, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	now, err := cargo.Survey(bytes.NewReader(packed(t, to)))
	if err != nil || !now.Same(tally) {
		t.Errorf("arrived is %+v, %v; sent was %+v", now, err, tally)
	}
	for name, mode := range map[string]fs.FileMode{"deep": 0o500 | fs.ModeDir, "deep/er/note": 0o640, "run": 0o755, "nothing": 0o400} {
		if info, err := to.Lstat(name); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if info, err := to.Stat("deep/er/note"); err != nil || info.ModTime().Unix() != 1000 {
		t.Errorf("changed at %v, %v", info.ModTime(), err)
	}
	if link, err := to.Readlink("outside"); err != nil || link != "/etc/passwd" {
		t.Errorf("a link leads to %s, %v", link, err)
	}
	_ = to.Chmod("deep", 0o700)
}

func TestEveryDifferenceIsNoticed(t *testing.T) {
	root := full(t)
	_, before := passed(t, packed(t, root))
	for what, change := range map[string]func() error{
		"a byte":  func() error { return root.WriteFile("run", []byte("#!/bin/sx\n"), 0o755) },
		"a mode":  func() error { return root.Chmod("run", 0o644) },
		"a link":  func() error { return errors.Join(root.Remove("inside"), root.Symlink("run", "inside")) },
		"a name":  func() error { return root.Rename("empty", "void") },
		"no file": func() error { return root.Remove("nothing") },
	} {
		if err := change(); err != nil {
			t.Fatal(err)
		}
		_, now := passed(t, packed(t, root))
		if now.Same(before) {
			t.Errorf("%s differs, and nobody noticed", what)
		}
		before = now
	}
}

func TestNothingLeadsOutOfAVolume(t *testing.T) {
	archive := func(list ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range list {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	dir, to := t.TempDir(), open(t)
	for what, bad := range map[string][]byte{
		"up":            archive(tar.Header{Name: "../x", Typeflag: tar.TypeReg}),
		"absolute":      archive(tar.Header{Name: "/x", Typeflag: tar.TypeReg}),
		"a second name": archive(tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "../../etc/passwd"}),
		"of nothing":    archive(tar.Header{Name: "x", Typeflag: tar.TypeLink, Linkname: "y"}),
	} {
		if _, err := cargo.Survey(bytes.NewReader(bad)); err == nil {
			t.Errorf("%s is passed on", what)
		}
		if err := cargo.Unpack(t.Context(), to, bytes.NewReader(bad)); err == nil {
			t.Errorf("%s is unpacked", what)
		}
	}
	through := archive(tar.Header{Name: "door", Typeflag: tar.TypeSymlink, Linkname: dir}, tar.Header{Name: "door/x", Typeflag: tar.TypeReg, Mode: 0o600})
	if err := cargo.Unpack(t.Context(), to, bytes.NewReader(through)); err == nil {
		t.Error("a file is written through a link")
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		t.Errorf("outside are %v, %v", list, err)
	}
	huge := archive(tar.Header{Name: "x", Typeflag: tar.TypeReg})
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: cargo.MaxBytes + 1})
	if _, err := cargo.Survey(io.MultiReader(&b, bytes.NewReader(huge))); !errors.Is(err, cargo.ErrTooMuch) {
		t.Errorf("too much: %v", err)
	}
}

func FuzzNoArchiveLeadsOutOfAVolume(f *testing.F) {
	entry := func(name, link string, kind byte) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		_ = w.WriteHeader(&tar.Header{Name: "door", Typeflag: tar.TypeSymlink, Linkname: link})
		_ = w.WriteHeader(&tar.Header{Name: name, Linkname: link, Typeflag: kind, Mode: 0o600})
		_ = w.Close()
		return b.Bytes()
	}
	f.Add(entry("door/x", "..", tar.TypeReg))
	f.Add(entry("../x", "/etc", tar.TypeDir))
	f.Add(entry("x", "../witness", tar.TypeLink))
	f.Add(entry("a//./b/../c", "door", tar.TypeSymlink))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(filepath.Join(dir, "volume"), 0o700), os.WriteFile(filepath.Join(dir, "witness"), []byte("w"), 0o600)); err != nil {
			t.Fatal(err)
		}
		root, err := os.OpenRoot(filepath.Join(dir, "volume"))
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		var clean bytes.Buffer
		if _, err := cargo.Pass(&clean, bytes.NewReader(archive), cargo.Owner{}); err != nil {
			clean = *bytes.NewBuffer(archive) // who unpacks has to be safe by itself
		}
		_ = cargo.Unpack(t.Context(), root, &clean)
		list, err := os.ReadDir(dir)
		text, rerr := os.ReadFile(filepath.Join(dir, "witness"))
		if err != nil || rerr != nil || len(list) != 2 || string(text) != "w" {
			t.Errorf("beside the volume are %v, and the witness says %q: %v", list, text, errors.Join(err, rerr))
		}
	})
}
