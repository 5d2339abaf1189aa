package components

import "strings"

// diffLine is one line of two texts put side by side.
type diffLine struct {
	Sign     byte // '+', '-' or ' '
	Old, New int  // its numbers, from 1; 0 where it is not
	Text     string
}

// diffFold is lines in a row; Folded if they are the same in both texts and far
// from what differs.
type diffFold struct {
	Lines  []diffLine
	Folded bool
}

const (
	diffContext = 3         // equal lines shown around each difference
	diffCells   = 4_000_000 // most comparisons; larger texts are shown as replaced
)

func diffLines(old, new string) []diffLine {
	a, b := splitLines(old), splitLines(new)
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out []diffLine
	for i := range head {
		out = append(out, diffLine{' ', i + 1, i + 1, a[i]})
	}
	out = append(out, diffMiddle(a[head:len(a)-tail], b[head:len(b)-tail], head)...)
	for i := range tail {
		x, y := len(a)-tail+i, len(b)-tail+i
		out = append(out, diffLine{' ', x + 1, y + 1, a[x]})
	}
	return out
}

// diffMiddle finds the longest common part of what lies between equal ends.
func diffMiddle(a, b []string, at int) []diffLine {
	var out []diffLine
	i, j := 0, 0
	if len(a)*len(b) <= diffCells {
		common := longest(a, b)
		for i < len(a) && j < len(b) {
			switch {
			case a[i] == b[j]:
				out = append(out, diffLine{' ', at + i + 1, at + j + 1, a[i]})
				i, j = i+1, j+1
			case common[i+1][j] >= common[i][j+1]:
				out = append(out, diffLine{'-', at + i + 1, 0, a[i]})
				i++
			default:
				out = append(out, diffLine{'+', 0, at + j + 1, b[j]})
				j++
			}
		}
	}
	for ; i < len(a); i++ {
		out = append(out, diffLine{'-', at + i + 1, 0, a[i]})
	}
	for ; j < len(b); j++ {
		out = append(out, diffLine{'+', 0, at + j + 1, b[j]})
	}
	return out
}

// longest gives for each pair of ends how many lines they have in common.
func longest(a, b []string) [][]int32 {
	out := make([][]int32, len(a)+1)
	for i := range out {
		out[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				out[i][j] = out[i+1][j+1] + 1
			} else {
				out[i][j] = max(out[i+1][j], out[i][j+1])
			}
		}
	}
	return out
}

func splitLines(s string) []string {
	s = strings.TrimSuffix(s, "\n")
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

// foldLines puts together what is shown at once and what is folded.
func foldLines(lines []diffLine) []diffFold {
	near := make([]bool, len(lines))
	for i, l := range lines {
		if l.Sign != ' ' {
			for k := max(0, i-diffContext); k <= min(len(lines)-1, i+diffContext); k++ {
				near[k] = true
			}
		}
	}
	var out []diffFold
	for i, l := range lines {
		if len(out) == 0 || out[len(out)-1].Folded == near[i] {
			out = append(out, diffFold{Folded: !near[i]})
		}
		last := &out[len(out)-1]
		last.Lines = append(last.Lines, l)
	}
	return out
}

// diffCount counts the lines that came and went.
func diffCount(lines []diffLine) (added, removed int) {
	for _, l := range lines {
		switch l.Sign {
		case '+':
			added++
		case '-':
			removed++
		}
	}
	return added, removed
}
