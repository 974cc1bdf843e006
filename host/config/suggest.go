package config

import "strings"

// Nearest returns the SECTION.KEY that a misspelt one, or a misspelt KEY, most likely stands for, or "".
func Nearest(word string) string {
	var ids, keys []string
	for _, field := range Fields() {
		ids, keys = append(ids, field.ID()), append(keys, field.Key)
	}
	if strings.Contains(word, ".") {
		return nearest(word, ids)
	}
	return nearest(word, keys)
}

// nearest returns the candidate that a misspelt word most likely stands for, or "".
func nearest(word string, candidates []string) string {
	best, bestDistance := "", 3
	for _, candidate := range candidates {
		distance := editDistance(plainWord(word), plainWord(candidate))
		// A short word is similar to everything: at least every third letter has to be right.
		if distance < bestDistance && distance*3 <= 2*len(candidate) {
			best, bestDistance = candidate, distance
		}
	}
	return best
}

// plainWord drops what people mix up without noticing.
func plainWord(word string) string {
	return strings.NewReplacer("_", "", "-", "", " ", "").Replace(strings.ToLower(word))
}

// editDistance counts insertions, deletions, replacements and swaps of neighbours between two words.
func editDistance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(x)][len(y)]
}
