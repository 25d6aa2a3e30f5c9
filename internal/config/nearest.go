package config

import "strings"

// nearest returns the name most like the wrong one, "" when none is near enough to be meant.
func nearest(wrong string, names []string) string {
	if len(wrong) > 200 {
		return ""
	}
	best, bestCost := "", 1+max(1, len(wrong)/3)
	for _, n := range names {
		if c := editDistance(strings.ToLower(wrong), n); c < bestCost {
			best, bestCost = n, c
		}
	}
	return best
}

// nearestKey finds the key most like a wrong path: one beside it, one of the same last part in another section, or one
// whose whole path is nearly the same.
func nearestKey(path string) string {
	i := strings.LastIndexByte(path, '.') + 1
	parent, last := path[:i], path[i:]
	var all, beside []string
	elsewhere := ""
	for _, k := range table {
		all = append(all, k.Name)
		if name, ok := strings.CutPrefix(k.Name, parent); ok && parent != "" && !strings.Contains(name, ".") {
			beside = append(beside, name)
		}
		if elsewhere == "" && strings.HasSuffix(k.Name, "."+last) {
			elsewhere = k.Name
		}
	}
	if near := nearest(last, beside); near != "" {
		return parent + near
	}
	if elsewhere != "" {
		return elsewhere
	}
	if near := nearest(path, all); near != "" && editDistance(path, near) <= 3 {
		return near
	}
	return ""
}

// nearestSection finds the section (the inner node of the key tree) most like a wrong path.
func nearestSection(path string) string {
	var all []string
	for s := range sections {
		all = append(all, s)
	}
	if near := nearest(path, sorted(all)); editDistance(path, near) <= 2 {
		return near
	}
	return ""
}

// editDistance counts the insertions, deletions, exchanges and swaps of neighbours that make a of b.
func editDistance(a, b string) int {
	prev2, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
