package dashboards_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
)

const (
	rulesDir = "../../deploy/prometheus"
	siteName = "lab"            // the label of every target
	patience = 60 * time.Second // for anything that is waited for; it is no measure of speed
)

// server is a real Prometheus.
type server struct {
	t     *testing.T
	addr  string
	began time.Time
}

// startPrometheus scrapes the devices and the node of a demonstration every second, with the rules of deploy/prometheus.
func startPrometheus(t *testing.T, d *loop.Demo) *server {
	t.Helper()
	dir := t.TempDir()
	var targets []string
	for _, device := range d.Devices() {
		targets = append(targets, strconv.Quote(device.Metrics))
	}
	rules, err := filepath.Abs(rulesDir)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf(`
global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}
rule_files: [%[1]q, %[2]q]
scrape_configs:
  - job_name: dunlin-agent
    static_configs: [{targets: [%[3]s], labels: {site: %[5]s}}]
  - job_name: dunlin-cache
    static_configs: [{targets: [%[4]q], labels: {site: %[5]s}}]
`, filepath.Join(rules, "dunlin.rules.yml"), filepath.Join(rules, "dunlin.alerts.yml"), strings.Join(targets, ", "), d.Node().Metrics, siteName)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &server{t: t, addr: programs.Loopback() + ":9090", began: time.Now()}
	start(t, exec.Command("prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+p.addr, "--log.level=warn"))
	until(t, "Prometheus is ready", func() bool {
		resp, err := http.Get("http://" + p.addr + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// ask calls the API. A question that Prometheus does not understand is a failure.
func (p *server) ask(path string, q url.Values, data any) error {
	resp, err := http.Get("http://" + p.addr + "/api/v1/" + path + "?" + q.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s %v: %s", path, q, answer.Error)
	}
	return nil
}

// result is what a query returns: samples of one moment or of many.
type result struct {
	Result []struct {
		Metric map[string]string
		Value  [2]any
		Values [][2]any
	}
}

// numbers are all samples that are numbers.
func (r result) numbers() (out []float64) {
	for _, s := range r.Result {
		for _, v := range append(s.Values, s.Value) {
			text, _ := v[1].(string)
			if f, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) {
				out = append(out, f)
			}
		}
	}
	return out
}

func start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out lab.Output
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), out.String())
		}
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it never came to that: %s", what)
		}
	}
}

// now asks for the value of this moment.
func (p *server) now(expr string) (result, error) {
	var r result
	return r, p.ask("query", url.Values{"query": {expr}}, &r)
}

// since asks for all values since the beginning.
func (p *server) since(expr string) (result, error) {
	var r result
	at := func(t time.Time) []string { return []string{strconv.FormatInt(t.Unix(), 10)} }
	return r, p.ask("query_range", url.Values{"query": {expr}, "start": at(p.began), "end": at(time.Now()), "step": {"1"}}, &r)
}

// awaits waits until an expression has the value.
func (p *server) awaits(expr string, want float64) {
	p.t.Helper()
	until(p.t, fmt.Sprintf("%s is %v", expr, want), func() bool {
		r, err := p.now(expr)
		n := r.numbers()
		return err == nil && len(n) == 1 && n[0] == want
	})
}

// value is the one value of an expression.
func (p *server) value(expr string) float64 {
	p.t.Helper()
	r, err := p.now(expr)
	n := r.numbers()
	if err != nil || len(n) != 1 {
		p.t.Fatalf("%s: %v, %v", expr, n, err)
	}
	return n[0]
}
