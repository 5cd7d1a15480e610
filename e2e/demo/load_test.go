package demo

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// patience is how long a demonstration under load may take until the updates that the test waits for are everywhere.
const patience = 2 * time.Minute

// place is a line of what --keep prints.
var place = regexp.MustCompile(`^  (device-\d+|cache node) +(http://\S+/)  metrics: (http://\S+/metrics)$`)

// TestLoad keeps a demonstration with a cache node under load until three more updates are installed: every page answers, what
// devices and node drew from the origin is far less than what they delivered, and an interrupt ends all of it.
func TestLoad(t *testing.T) {
	lab.Need(t)
	cmd := exec.Command(lab.Binary(t), "demo", "--keep", "--load", "--load-every", "2s", "--json")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	pages := follow(t, stderr, "approved acme/load@1.0.4")
	if len(pages) != 4 {
		t.Fatalf("it names the pages %v, want those of three devices and a node", pages)
	}
	checkSavings(t, pages)
	for name, p := range pages {
		if body := fetch(t, p.page); !strings.Contains(body, "<main") {
			t.Errorf("the page of %s is %.200q", name, body)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, stderr) }()
	var r struct {
		Cache *struct {
			From struct{ Origin, Cache, Peers int64 }
		}
	}
	if err := json.NewDecoder(stdout).Decode(&r); err != nil || r.Cache == nil {
		t.Errorf("it prints %+v, %v", r, err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("interrupted, it ends with %v", err)
	}
}

type addresses struct{ page, metrics string }

// follow reads what the demonstration says until a line ends with last.
func follow(t *testing.T, r io.Reader, last string) map[string]addresses {
	t.Helper()
	pages := make(map[string]addresses)
	lines := bufio.NewScanner(r)
	var all []string
	for lines.Scan() {
		all = append(all, lines.Text())
		if m := place.FindStringSubmatch(lines.Text()); m != nil {
			pages[m[1]] = addresses{m[2], m[3]}
		}
		if strings.HasSuffix(lines.Text(), last) {
			return pages
		}
	}
	t.Fatalf("it never says %q: %v\n%s", last, lines.Err(), strings.Join(all, "\n"))
	return nil
}

// checkSavings waits until the metrics of all say that three devices have what the node has, and a client besides.
func checkSavings(t *testing.T, pages map[string]addresses) {
	t.Helper()
	var origin, content float64
	for end := time.Now().Add(patience / 4); ; time.Sleep(time.Second) {
		origin, content = 0, 0
		for _, p := range pages {
			body := fetch(t, p.metrics)
			origin += sum(t, body, "dunlin_origin_bytes_total")
			content += sum(t, body, "dunlin_content_bytes_total")
		}
		if origin > 0 && content > 2*origin {
			t.Logf("%.0f bytes from the origin, %.0f delivered", origin, content)
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%.0f bytes from the origin, %.0f delivered", origin, content)
		}
	}
}

// sum adds the samples of one metric.
func sum(t *testing.T, text, name string) (total float64) {
	t.Helper()
	for line := range strings.Lines(text) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || series != name && !strings.HasPrefix(series, name+"{") {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += v
	}
	return total
}

func fetch(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(b)
}
