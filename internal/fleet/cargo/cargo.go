// Package cargo carries the content of volumes as archives: it packs a directory,
// passes an archive on while it counts and sums it up, and unpacks one. What is
// carried are directories, files and links; owners are whoever unpacks.
package cargo

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"
)

// What one volume may hold to be carried.
const (
	MaxFiles = 200_000
	MaxBytes = 64 << 30
)

// ErrTooMuch says that a volume holds more than is carried.
var ErrTooMuch = fmt.Errorf("it holds more than %d files or %d GiB", MaxFiles, MaxBytes>>30)

// Tally is what an archive holds. Two archives of the same content have the same,
// whatever the order of their entries, and whoever owns what.
type Tally struct {
	Files   int    // directories and links as well
	Bytes   int64  // of files
	Skipped int    // sockets, pipes and devices, which hold nothing
	Sum     string // of names, kinds, contents and what may be run
}

// Same tells whether the content is the same.
func (t Tally) Same(o Tally) bool { return t.Files == o.Files && t.Bytes == o.Bytes && t.Sum == o.Sum }

// String says it for people.
func (t Tally) String() string {
	text := fmt.Sprintf("%d files with %d bytes", t.Files, t.Bytes)
	if t.Skipped > 0 {
		text += fmt.Sprintf(", without %d sockets, pipes and devices", t.Skipped)
	}
	return text
}

// Owner is who owns the entries of an archive that is passed on.
type Owner struct{ UID, GID int }

// Pass copies an archive, with every name as it is below its root and every entry
// the owner's. It fails before anything is passed on that would lead out of a volume.
func Pass(w io.Writer, r io.Reader, owner Owner) (Tally, error) {
	p := passage{in: tar.NewReader(r), out: tar.NewWriter(w), owner: owner, contents: map[string]content{}}
	for {
		h, err := p.in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = p.entry(h)
		}
		if err != nil {
			return Tally{}, err
		}
	}
	for i, n := range p.sum {
		binary.BigEndian.PutUint64(p.digest[8*i:], n)
	}
	p.tally.Sum = hex.EncodeToString(p.digest[:])
	return p.tally, p.out.Close()
}

// Survey says what an archive holds.
func Survey(r io.Reader) (Tally, error) { return Pass(io.Discard, r, Owner{}) }

// passage is an archive that is being passed on.
type passage struct {
	in       *tar.Reader
	out      *tar.Writer
	owner    Owner
	tally    Tally
	sum      [4]uint64 // of the digests of all entries, so that their order does not count
	digest   [32]byte
	contents map[string]content // of files, for those that have a second name
}

type content struct {
	sum   [sha256.Size]byte
	bytes int64
	mode  int64
}

func (p *passage) entry(h *tar.Header) error {
	name, err := inside(h.Name)
	if err != nil || name == "." {
		return err
	}
	out := &tar.Header{
		Name: name, Typeflag: h.Typeflag, Mode: h.Mode & 0o777, Uid: p.owner.UID, Gid: p.owner.GID, ModTime: h.ModTime, Format: tar.FormatPAX,
	}
	digest := sha256.New()
	var same []byte // what a second name stands for
	switch h.Typeflag {
	case tar.TypeDir:
		out.Name += "/"
	case tar.TypeReg:
		out.Size = h.Size
		p.tally.Bytes += h.Size
	case tar.TypeSymlink:
		out.Linkname = h.Linkname
		digest.Write([]byte(h.Linkname))
	case tar.TypeLink:
		if out.Linkname, err = inside(h.Linkname); err != nil {
			return err
		}
		one, ok := p.contents[out.Linkname]
		if !ok {
			return fmt.Errorf("%s is a second name of %s, which is not there", name, out.Linkname)
		}
		same, out.Mode = one.sum[:], one.mode
		p.tally.Bytes += one.bytes
	default:
		p.tally.Skipped++
		return nil
	}
	if p.tally.Files++; p.tally.Files > MaxFiles || p.tally.Bytes > MaxBytes {
		return ErrTooMuch
	}
	if err := p.out.WriteHeader(out); err != nil {
		return err
	}
	if out.Typeflag == tar.TypeReg {
		if _, err := io.Copy(io.MultiWriter(p.out, digest), p.in); err != nil {
			return err
		}
		p.contents[name] = content{[sha256.Size]byte(digest.Sum(nil)), out.Size, out.Mode}
	}
	if same == nil {
		same = digest.Sum(nil)
	}
	p.add(kindOf(out), name, out.Mode, same)
	return nil
}

// kindOf says what is at a name: a second name is a file.
func kindOf(h *tar.Header) string {
	switch h.Typeflag {
	case tar.TypeDir:
		return "directory"
	case tar.TypeSymlink:
		return "link"
	}
	return "file"
}

// add sums up an entry. Of its mode counts whether it may be run: engines add rights
// for their own users.
func (p *passage) add(kind, name string, mode int64, content []byte) {
	runs := kind == "file" && mode&0o100 != 0
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%s\x00%t\x00%x", kind, name, runs, content))
	for i := range p.sum {
		p.sum[i] += binary.BigEndian.Uint64(sum[8*i:])
	}
}

// inside gives a name of an archive as it is below its root.
func inside(name string) (string, error) {
	clean := path.Clean(strings.TrimSuffix(name, "/"))
	if clean == "." {
		return clean, nil
	}
	if !filepath.IsLocal(clean) || bytes.ContainsRune([]byte(clean), 0) {
		return "", fmt.Errorf("the archive names %q, which is outside of the volume: %w", name, fs.ErrInvalid)
	}
	return clean, nil
}
