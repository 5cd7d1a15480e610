package boards

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// targetLabels are those that Prometheus adds: see deploy/prometheus/prometheus.yml.
var targetLabels = []string{"site", "instance", "job"}

var (
	metricName = regexp.MustCompile(`[a-zA-Z_:][\w:]*dunlin[\w:]*|\bdunlin[\w:]*`)
	selector   = regexp.MustCompile(`([a-zA-Z_:][\w:]*)\{([^}]*)\}`)
	grouping   = regexp.MustCompile(`\b(?:by|on|group_left|group_right)\s*\(([^)]*)\)`)
	quoted     = regexp.MustCompile(`"[^"]*"`)
)

// Check returns what a PromQL expression names that does not exist: metrics that are neither in a golden file nor recorded by a
// rule, labels that they do not have, and values that the labels never take.
func Check(expr string, recorded []string, programs ...Golden) (wrong []string) {
	known := func(name string) (*Metric, bool) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			for _, g := range programs {
				if m := g[strings.TrimSuffix(name, suffix)]; m != nil && (suffix == "" || m.Type == "histogram") {
					return m, true
				}
			}
		}
		return nil, slices.Contains(recorded, name)
	}
	for _, name := range metricName.FindAllString(quoted.ReplaceAllString(expr, `""`), -1) {
		if _, ok := known(name); !ok {
			wrong = append(wrong, "there is no metric "+name)
		}
	}
	for _, s := range selector.FindAllStringSubmatch(expr, -1) {
		_, ok := known(s[1])
		switch {
		case ok:
			wrong = append(wrong, checkMatchers(s[1], s[2], programs)...)
		case s[1] != "up":
			wrong = append(wrong, "there is no metric "+s[1])
		}
	}
	for _, s := range grouping.FindAllStringSubmatch(expr, -1) {
		for label := range strings.SplitSeq(s[1], ",") {
			if label = strings.TrimSpace(label); label != "" && label != "le" && !hasLabel(label, programs) {
				wrong = append(wrong, "no metric has the label "+label)
			}
		}
	}
	return wrong
}

func hasLabel(label string, programs []Golden) bool {
	if slices.Contains(targetLabels, label) {
		return true
	}
	for _, g := range programs {
		for _, m := range g {
			if m.Labels[label] != nil {
				return true
			}
		}
	}
	return false
}

// checkMatchers looks at what stands in the braces behind a metric.
func checkMatchers(name, matchers string, programs []Golden) (wrong []string) {
	for _, p := range labelPair.FindAllStringSubmatch(matchers, -1) {
		label, op, value := p[1], p[2], p[3]
		if slices.Contains(targetLabels, label) {
			continue
		}
		var values []string
		for _, g := range programs {
			if m := g[name]; m != nil {
				values = append(values, m.Labels[label]...)
			}
		}
		if values == nil {
			wrong = append(wrong, fmt.Sprintf("%s has no label %s", name, label))
			continue
		}
		words := []string{value}
		if strings.HasSuffix(op, "~") {
			words = strings.Split(value, "|")
		}
		for _, w := range words {
			if !slices.Contains(values, w) {
				wrong = append(wrong, fmt.Sprintf("%s is never %q in %s", label, w, name))
			}
		}
	}
	return wrong
}
