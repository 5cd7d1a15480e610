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
	"github.com/dunlin-project/dunlin/e2e/loop"
	"github.com/dunlin-project/dunlin/internal/boards"
)

const (
	top      = "../.."
	boardDir = top + "/deploy/grafana"
)

// programs are those of this package's tests.
var programs = loop.Programs{Net: 84}

func TestMain(m *testing.M) { os.Exit(programs.Main(m)) }

// TestDashboards has a Prometheus watch a demonstration under load and asks it everything that the dashboards ask.
func TestDashboards(t *testing.T) {
	lab.Need(t, "prometheus", "promtool")
	d := loop.StartDemo(t, programs.Path, 8*time.Second)
	p := startPrometheus(t, d)
	p.awaits("count(up == 1)", float64(len(d.Places)))
	d.Approved(updates)
	p.awaits(`sum(dunlin_updates{state=~"pending|downloading|installing"})`, 0)
	time.Sleep(3 * time.Second) // for what is recorded once a second

	t.Run("rules", p.checkRules)
	for _, file := range []string{"site.json", "fleet.json"} {
		t.Run(file, func(t *testing.T) { p.checkBoard(t, file, "") })
	}
	for _, device := range d.Devices() {
		t.Run("device.json of "+device.Name, func(t *testing.T) { p.checkBoard(t, "device.json", device.Metrics) })
		t.Run(device.Name, func(t *testing.T) { checkProgram(t, device.Metrics, boards.Agent) })
	}
	t.Run("cache.json", func(t *testing.T) { p.checkBoard(t, "cache.json", d.Node().Metrics) })
	t.Run("cache node", func(t *testing.T) { checkProgram(t, d.Node().Metrics, boards.Cache) })
	t.Run("savings", func(t *testing.T) { checkSavings(t, d, p) })
}

// updates are so many that some are fetched ahead by the node and some are not.
const updates = 6

// checkSavings waits for a moment in which nothing moves: what Prometheus says was drawn is then what the access logs say was sent.
func checkSavings(t *testing.T, d *loop.Demo, p *server) {
	var drawn float64
	until(t, "the logs and Prometheus agree", func() bool {
		sent, broken := d.Logged()
		drawn = p.value("sum(dunlin_origin_bytes_total)")
		return drawn <= float64(sent) && drawn >= float64(sent-broken)
	})
	saved := p.value("1 - sum(dunlin_origin_bytes_total) / sum(dunlin_content_bytes_total)")
	t.Logf("%.0f bytes were drawn; %.1f %% were saved", drawn, 100*saved)
	if drawn == 0 || saved < 0.3 || saved >= 1 {
		t.Errorf("%.0f bytes were drawn, saved %.3f", drawn, saved)
	}
}

// checkRules: every rule is well, and no alert has anything to say of a site that is.
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
	if r, err := p.now("ALERTS"); err != nil || len(r.Result) > 0 {
		t.Errorf("alerts: %+v, %v", r.Result, err)
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
		"Sent by HTTP, hit or miss", "Requests", "Received, by source", "Prefetched", "Delivered by HTTP", "Approvals hold for", "Store", "Contents", "Piece checks",
	},
}

// checkBoard asks what a board asks, for the device or node that was chosen at the top of it.
func (p *server) checkBoard(t *testing.T, file, instance string) {
	text, err := os.ReadFile(filepath.Join(boardDir, file))
	if err != nil {
		t.Fatal(err)
	}
	var b board
	if err := json.Unmarshal(text, &b); err != nil {
		t.Fatal(err)
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
