package boards

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// Rule is a recording rule or an alert of a file in deploy/prometheus, as far as names are concerned.
type Rule struct{ Record, Alert, Expr string }

var ruleLine = regexp.MustCompile(`^\s*(?:- )?(record|alert|expr):\s*(.*)$`)

// ReadRules reads a file of rules. It knows only the form that ours have: one rule begins with "- record:" or "- alert:", and its
// expression stands on one line behind "expr:", or on deeper lines below "expr: |".
func ReadRules(file string) (rules []Rule, err error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	open, depth := false, 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		indent := len(line) - len(strings.TrimLeft(line, " "))
		f := ruleLine.FindStringSubmatch(line)
		switch {
		case f == nil && open && indent > depth:
			rules[len(rules)-1].Expr += strings.TrimSpace(line) + " "
			continue
		case f == nil:
		case f[1] == "record":
			rules = append(rules, Rule{Record: f[2]})
		case f[1] == "alert":
			rules = append(rules, Rule{Alert: f[2]})
		case len(rules) == 0:
			return nil, fmt.Errorf("read rules: %s: an expression before the first rule", file)
		case f[2] == "|":
			open, depth = true, indent
			continue
		default:
			rules[len(rules)-1].Expr = f[2]
		}
		open = false
	}
	return rules, nil
}
