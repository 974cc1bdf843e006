package scenario

import "strings"

// diff shows two texts line by line: `-` is wanted and not there, `+` is there
// and not wanted. Equal lines far from a difference are left out.
func diff(want, got string) string {
	a, b := lines(want), lines(got)
	if len(a)*len(b) > mostCells {
		return each("- ", want) + each("+ ", got)
	}
	// common[i][j] is the length of the longest common part of a[i:] and b[j:].
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []string
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i++
			j++
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return strings.Join(shorten(out), "\n") + "\n"
}

// mostCells bounds the table of a diff; beyond it nobody would read the diff.
const mostCells = 4 << 20

// around is how many equal lines are shown beside a difference.
const around = 3

// shorten leaves equal lines out that are far from a difference. The first line
// says what it is about and stays.
func shorten(all []string) (out []string) {
	near := make([]bool, len(all))
	for i, line := range all {
		if !strings.HasPrefix(line, "  ") {
			for k := max(0, i-around); k <= min(len(all)-1, i+around); k++ {
				near[k] = true
			}
		}
	}
	skipped := false
	for i, line := range all {
		if near[i] || i == 0 {
			out, skipped = append(out, line), false
		} else if !skipped {
			out, skipped = append(out, "  …"), true
		}
	}
	return out
}

func lines(text string) []string {
	text = strings.TrimSuffix(text, "\n")
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

// each puts a prefix before every line of a text.
func each(prefix, text string) string {
	var b strings.Builder
	for _, line := range lines(text) {
		b.WriteString(strings.TrimRight(prefix+line, " ") + "\n")
	}
	return b.String()
}
