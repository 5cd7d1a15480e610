package dashboards_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/internal/boards"
)

const (
	top      = "../.."
	boardDir = top + "/deploy/grafana"
)

// TestDashboards runs a site through two updates, one of which its cache node has beforehand, and asks a Prometheus that watches it
// everything that the dashboards ask.
func TestDashboards(t *testing.T) {
	s := newSite(t)
	s.startNode()
	s.startAgents()
	p := startPrometheus(t, s.agents, s.node)
	p.awaits("count(up == 1)", devices+1)
	p.awaits("min(count_over_time(dunlin_active_transfers{kind=\"download\"}[1m])) >= bool 3", 1)
	s.takeByHTTP(p)
	s.approve("app")
	p.awaits(`sum(dunlin_updates{state="installed"})`, devices)
	s.approve("driver")
	p.awaits(`sum(dunlin_updates{state="installed"})`, 2*devices)
	p.awaits(`sum(dunlin_content_bytes_total)`, float64(s.delivered()))
	time.Sleep(3 * time.Second) // for what is recorded once a second

	t.Run("rules", p.checkRules)
	for _, file := range []string{"site.json", "fleet.json", "device.json", "cache.json"} {
		t.Run(file, func(t *testing.T) { p.checkBoard(t, file, s) })
	}
	t.Run("agent", func(t *testing.T) { checkProgram(t, s.agents[0]+":9680", boards.Agent) })
	t.Run("cache node", func(t *testing.T) { checkProgram(t, s.node+":9681", boards.Cache) })
	t.Run("savings", func(t *testing.T) { checkSavings(t, s, p) })
}

// checkSavings: what the metrics say was drawn is what the logs say was sent, and what they say was saved follows from that.
func checkSavings(t *testing.T, s *site, p *server) {
	drawn, saved := p.value("sum(dunlin_origin_bytes_total)"), p.value(`1 - sum(dunlin_origin_bytes_total) / sum(dunlin_content_bytes_total)`)
	logged, whole := s.logged()
	delivered := s.delivered()
	t.Logf("origins sent %d bytes by their logs, %.0f by the metrics (%.0f in flight, no connection broke: %v); saved %.1f %% of %d",
		logged, drawn, float64(logged)-drawn, whole, 100*saved, delivered)
	switch over := float64(logged) - drawn; {
	case over < 0 || whole && over != 0:
		t.Errorf("the logs say %d bytes, the metrics %.0f", logged, drawn)
	case over > inFlight:
		t.Errorf("%.0f bytes were in flight, at most %d can be", over, inFlight)
	}
	if want := 1 - float64(logged)/float64(delivered); saved < want-0.05 || saved > want+0.05 || saved < 0.3 {
		t.Errorf("saved %.3f, by the logs %.3f", saved, want)
	}
}

// inFlight is what may be on its way over connections that break: what the buffers of so many sockets hold.
const inFlight = (devices + 1) * 8 * 4 << 20

// checkRules: every rule is well.
func (p *server) checkRules(t *testing.T) {
	var got struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	if err := p.ask("rules", nil, &got); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range got.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				t.Errorf("%s is %s: %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if n < 15 {
		t.Errorf("%d rules were loaded", n)
	}
}

// board is a dashboard as Grafana reads it, as far as it matters here.
type board struct {
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		Title, Type string
		Targets     []struct {
			Expr    string
			Instant bool
		}
	}
}

// moving are the panels that show more than zero when something has moved. Of the others data is asked, not what they say.
var moving = map[string][]string{
	"site.json": {
		"Saved", "Bytes saved", "Delivered", "From origins", "From devices", "From cache nodes", "Origins, devices, cache nodes", "Saved share",
		"Why origins were asked", "Connected peers", "Content by kind of update", "Rollout", "Rollout progress", "Downloads, 95 of 100 within",
		"Jobs that ended", "Metadata holds for", "Devices", "Cache nodes",
	},
	"fleet.json": {
		"Saved", "Bytes saved", "From origins", "Sites", "Devices", "Rollout", "Saved share", "Origin bytes of one day",
		"Saved share of one day", "Content delivered", "Approvals hold for", "Versions",
	},
	"device.json": {
		"Received", "Peers", "Approvals hold for", "Received, by source", "Received, by use", "Updates", "Cycles", "Jobs", "Piece checks",
	},
	"cache.json": {
		"Hits, of requests", "Hits, of bytes", "Given", "From origins", "Given for each byte drawn", "Full", "Sent, by whom it went to",
		"Sent by HTTP, hit or miss", "Requests", "Received, by source", "Prefetched", "Delivered by HTTP", "Store", "Contents", "Piece checks",
	},
}

func (p *server) checkBoard(t *testing.T, file string, s *site) {
	text, err := os.ReadFile(filepath.Join(boardDir, file))
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
	}
	instance := s.agents[0] + ":9680"
	if file == "cache.json" {
		instance = s.node + ":9681"
	}
	fill := strings.NewReplacer("$__range", "5m", "$__rate_interval", "10s", "$site", siteName, "$instance", instance)
	for _, v := range b.Templating.List {
		if v.Type == "query" {
			p.checkVariable(t, v.Name, fill.Replace(v.Definition))
		}
	}
	titles := make(map[string]bool)
	for _, panel := range b.Panels {
		titles[panel.Title] = true
		for _, q := range panel.Targets {
			ask := p.since
			if q.Instant {
				ask = p.now
			}
			r, err := ask(fill.Replace(q.Expr))
			n := r.numbers()
			switch {
			case err != nil:
				t.Errorf("%s: %v", panel.Title, err)
			case len(n) == 0:
				t.Errorf("%s has no data: %s", panel.Title, fill.Replace(q.Expr))
			case slices.Contains(moving[file], panel.Title) && slices.Max(n) <= 0:
				t.Errorf("%s shows nothing but zeros: %s", panel.Title, fill.Replace(q.Expr))
			}
		}
	}
	for _, title := range moving[file] {
		if !titles[title] {
			t.Errorf("there is no panel %q", title)
		}
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// checkVariable: people have something to choose.
func (p *server) checkVariable(t *testing.T, name, definition string) {
	f := labelValues.FindStringSubmatch(definition)
	if f == nil {
		t.Errorf("$%s: %q", name, definition)
		return
	}
	var values []string
	if err := p.ask("label/"+f[2]+"/values", url.Values{"match[]": {f[1]}}, &values); err != nil || len(values) == 0 {
		t.Errorf("$%s has no values: %v", name, err)
	}
}

var (
	described = regexp.MustCompile(`(?m)^# (HELP|TYPE) (\S+) (.*)$`)
	sample    = regexp.MustCompile(`(?m)^([a-z_]+)(\{[^}]*\})? \S+$`)
	version   = regexp.MustCompile(`(version)="[^"]*"`)
)

// checkProgram: what a program serves after all that is what its golden files say, and Prometheus' own tool finds no fault with it.
func checkProgram(t *testing.T, addr, program string) {
	resp, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	lint := exec.Command("promtool", "check", "metrics")
	lint.Stdin = bytes.NewReader(text)
	if out, err := lint.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	golden, err := boards.ReadGolden(top, program)
	if err != nil {
		t.Fatal(err)
	}
	if program == boards.Cache { // it has not joined, so nothing runs out
		delete(golden, "dunlin_metadata_expiry_timestamp_seconds")
	}
	var want []string
	for name, m := range golden {
		want = append(want, "HELP "+name+" "+m.Help, "TYPE "+name+" "+m.Type)
		for _, series := range m.Series {
			if m.Type == "histogram" {
				name += "_count"
			}
			want = append(want, name+strings.TrimSuffix(series, "{}"))
		}
	}
	var got []string
	for _, d := range described.FindAllStringSubmatch(string(text), -1) {
		got = append(got, d[1]+" "+d[2]+" "+d[3])
	}
	for _, v := range sample.FindAllStringSubmatch(string(text), -1) {
		if !strings.HasSuffix(v[1], "_bucket") && !strings.HasSuffix(v[1], "_sum") {
			got = append(got, v[1]+version.ReplaceAllString(v[2], `$1="..."`))
		}
	}
	compare(t, got, want)
}

func compare(t *testing.T, got, want []string) {
	t.Helper()
	there := make(map[string]int)
	for _, x := range want {
		there[x]--
	}
	for _, x := range got {
		there[x]++
	}
	for _, x := range slices.Sorted(maps.Keys(there)) {
		if there[x] != 0 {
			t.Errorf("%+d %s", there[x], x)
		}
	}
}

// TestRules has Prometheus' own tool check the example and the rules, and run their unit tests.
func TestRules(t *testing.T) {
	t.Parallel()
	lab.Need(t, "promtool")
	for _, args := range []string{"check config prometheus.yml", "check rules dunlin.rules.yml dunlin.alerts.yml", "test rules dunlin.test.yml"} {
		cmd := exec.Command("promtool", strings.Fields(args)...)
		cmd.Dir = rulesDir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Error(fmt.Errorf("promtool %s: %w\n%s", args, err, out))
		}
	}
}
