package view

import "slices"

// LineKind says where a line of a comparison is.
type LineKind string

// The kinds of line.
const (
	LineSame    LineKind = "same"
	LineRemoved LineKind = "removed"
	LineAdded   LineKind = "added"
)

// DiffLine is one line of a comparison. Old and New are its numbers in the two
// texts, from 1; 0 where it is not in one.
type DiffLine struct {
	Kind     LineKind
	Old, New int
	Text     string
}

// Hunk is a run of lines that belong together; Skipped is how many equal lines
// are left out before it.
type Hunk struct {
	Skipped int
	Lines   []DiffLine
}

// maxEdits bounds the work of a comparison. Texts that differ in more lines are
// shown as one taking the place of the other.
const maxEdits = 600

// DiffLines compares two texts line by line, with the fewest changes.
func DiffLines(before, after []string) []DiffLine {
	head := 0
	for head < len(before) && head < len(after) && before[head] == after[head] {
		head++
	}
	tail := 0
	for tail < len(before)-head && tail < len(after)-head && before[len(before)-1-tail] == after[len(after)-1-tail] {
		tail++
	}
	out := make([]DiffLine, 0, len(after)+16)
	for i := range head {
		out = append(out, DiffLine{LineSame, i + 1, i + 1, before[i]})
	}
	out = append(out, middle(before[head:len(before)-tail], after[head:len(after)-tail], head)...)
	for i := range tail {
		o, n := len(before)-tail+i, len(after)-tail+i
		out = append(out, DiffLine{LineSame, o + 1, n + 1, before[o]})
	}
	return out
}

// middle compares what is left between equal ends, by the algorithm of Myers:
// reach[d] holds, for every diagonal, how far d changes lead at most.
func middle(a, b []string, from int) []DiffLine {
	limit := min(len(a)+len(b), maxEdits)
	row := make([]int, 2*limit+3)
	at := func(k int) *int { return &row[k+limit+1] }
	var reach [][]int
	for d := 0; d <= limit; d++ {
		reach = append(reach, slices.Clone(row))
		for k := -d; k <= d; k += 2 {
			x := 0
			if k == -d || k != d && *at(k - 1) < *at(k + 1) {
				x = *at(k + 1)
			} else {
				x = *at(k - 1) + 1
			}
			for x < len(a) && x-k < len(b) && a[x] == b[x-k] {
				x++
			}
			*at(k) = x
			if x >= len(a) && x-k >= len(b) {
				return walkBack(a, b, reach, limit, from)
			}
		}
	}
	return replaced(a, b, from)
}

// walkBack follows the way of the fewest changes from its end.
func walkBack(a, b []string, reach [][]int, limit, from int) []DiffLine {
	var out []DiffLine
	x, y := len(a), len(b)
	for d := len(reach) - 1; d >= 0; d-- {
		at := func(k int) int { return reach[d][k+limit+1] }
		k := x - y
		before := k - 1
		if k == -d || k != d && at(k-1) < at(k+1) {
			before = k + 1
		}
		px := at(before)
		py := px - before
		if d == 0 {
			px, py = 0, 0
		}
		for x > px && y > py {
			x, y = x-1, y-1
			out = append(out, DiffLine{LineSame, from + x + 1, from + y + 1, a[x]})
		}
		switch {
		case d == 0:
		case x == px:
			y--
			out = append(out, DiffLine{LineAdded, 0, from + y + 1, b[y]})
		default:
			x--
			out = append(out, DiffLine{LineRemoved, from + x + 1, 0, a[x]})
		}
	}
	slices.Reverse(out)
	return out
}

func replaced(a, b []string, from int) []DiffLine {
	out := make([]DiffLine, 0, len(a)+len(b))
	for i, s := range a {
		out = append(out, DiffLine{LineRemoved, from + i + 1, 0, s})
	}
	for i, s := range b {
		out = append(out, DiffLine{LineAdded, 0, from + i + 1, s})
	}
	return out
}

// Hunks leaves out equal lines that are further than around from any change; nil
// if nothing changed.
func Hunks(lines []DiffLine, around int) []Hunk {
	keep := make([]bool, len(lines))
	changed := false
	for i, l := range lines {
		if l.Kind == LineSame {
			continue
		}
		changed = true
		for j := max(0, i-around); j <= min(len(lines)-1, i+around); j++ {
			keep[j] = true
		}
	}
	if !changed {
		return nil
	}
	var out []Hunk
	skipped := 0
	for i, l := range lines {
		switch {
		case !keep[i]:
			skipped++
		case i == 0 || !keep[i-1]:
			out = append(out, Hunk{Skipped: skipped, Lines: []DiffLine{l}})
			skipped = 0
		default:
			last := &out[len(out)-1]
			last.Lines = append(last.Lines, l)
		}
	}
	return out
}
