package boards

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Programs and the golden files of what each of them measures, from the top of the repository.
const (
	Agent = "agent"
	Cache = "cache node"
)

var goldens = map[string][]string{
	Agent: {"agent/testdata/metrics.golden", "swarm/testdata/metrics.golden"},
	Cache: {"cachenode/testdata/metrics.golden", "swarm/testdata/metrics.golden"},
}

// Metric is one metric as a golden file describes it.
type Metric struct {
	Name, Type, Help string
	Labels           map[string][]string // values by name
	Series           []string            // label sets, as Prometheus writes them
}

// Golden are the metrics of one program, by name.
type Golden map[string]*Metric

// ReadGolden reads what the golden files below the folder root say about a program, Agent or Cache.
func ReadGolden(root, program string) (Golden, error) {
	g := make(Golden)
	for _, file := range goldens[program] {
		b, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("read metrics: %w", err)
		}
		var m *Metric
		for line := range strings.Lines(string(b)) {
			line = strings.TrimSuffix(line, "\n")
			series, ok := strings.CutPrefix(line, "\t")
			if !ok {
				m, err = g.begin(line)
			} else if m != nil {
				m.add(series)
			}
			if err != nil {
				return nil, fmt.Errorf("read metrics: %s: %w", file, err)
			}
		}
	}
	return g, nil
}

// begin takes the line of a metric, which another part of the program may have begun.
func (g Golden) begin(line string) (*Metric, error) {
	f := strings.SplitN(line, " ", 3)
	if len(f) < 3 {
		return nil, fmt.Errorf("%q is no metric", line)
	}
	m := g[f[0]]
	if m == nil {
		m = &Metric{Name: f[0], Type: f[1], Help: f[2], Labels: make(map[string][]string)}
		g[m.Name] = m
	}
	if m.Type != f[1] || m.Help != f[2] {
		return nil, fmt.Errorf("%s is described in two ways", m.Name)
	}
	return m, nil
}

// labelPair finds the labels of a series or the matchers of a selector.
var labelPair = regexp.MustCompile(`([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]*)"`)

func (m *Metric) add(series string) {
	m.Series = append(m.Series, series)
	for _, p := range labelPair.FindAllStringSubmatch(series, -1) {
		if !slices.Contains(m.Labels[p[1]], p[3]) {
			m.Labels[p[1]] = append(m.Labels[p[1]], p[3])
		}
	}
}

// Table is the metrics of all programs as a table in Markdown.
func Table(root string) (string, error) {
	var b strings.Builder
	b.WriteString("| metric | type | of | says |\n|---|---|---|---|\n")
	of, all := make(map[string][]string), make(Golden)
	for _, program := range []string{Agent, Cache} {
		g, err := ReadGolden(root, program)
		if err != nil {
			return "", err
		}
		for name, m := range g {
			of[name] = append(of[name], program)
			if old := all[name]; old != nil {
				m.Labels = union(old.Labels, m.Labels)
			}
			all[name] = m
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		m := all[name]
		fmt.Fprintf(&b, "| `%s`%s | %s | %s | %s |\n", name, labelText(m.Labels), m.Type, strings.Join(of[name], ", "), m.Help)
	}
	return b.String(), nil
}

func union(a, b map[string][]string) map[string][]string {
	out := maps.Clone(a)
	for name, values := range b {
		all := slices.Concat(out[name], values)
		slices.Sort(all)
		out[name] = slices.Compact(all)
	}
	return out
}

// labelText names labels and their values for people.
func labelText(labels map[string][]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "<br>`%s`: %s", name, strings.Join(labels[name], ", "))
	}
	return b.String()
}
