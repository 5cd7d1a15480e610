package demo

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/e2e/loop"
)

// patience is how long it may take until programs, pages and logs agree. They do whenever nothing moves.
const patience = time.Minute

// TestLoad keeps a demonstration with a cache node under load until five more updates are approved: every page answers, what the
// site saved is what the files say, and an interrupt ends all of it.
func TestLoad(t *testing.T) {
	lab.Need(t)
	d := loop.StartDemo(t, lab.Binary(t), 8*time.Second)
	d.Approved(5)
	checkSavings(t, d)
	for _, p := range d.Places {
		if body := fetch(t, p.Page); !strings.Contains(body, "<main") {
			t.Errorf("the page of %s is %.200q", p.Name, body)
		}
	}
	var r struct {
		Cache *struct {
			From struct{ Origin, Cache, Peers int64 }
		}
	}
	if printed := d.Interrupt(); json.Unmarshal([]byte(printed), &r) != nil || r.Cache == nil {
		t.Errorf("it prints %s", printed)
	}
}

// moved is what a program says of itself, in bytes.
type moved struct{ drawn, delivered int64 }

// site is the sum of all programs.
type site struct {
	moved
	most int64 // that one device got
}

// checkSavings waits for a moment in which all say the same: the pages what the metrics say, the metrics what the access logs of the
// origins say was drawn, and that each device, and the client without one, got whole updates. What was saved follows from that.
func checkSavings(t *testing.T, d *loop.Demo) {
	t.Helper()
	var site site
	why := "nobody was asked"
	for end := time.Now().Add(patience); why != ""; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("they never agree: %s", why)
		}
		site, why = agree(t, d)
	}
	published := total(d.Sizes())
	saved, copies := 1-float64(site.drawn)/float64(site.delivered), float64(site.drawn)/float64(published)
	t.Logf("of %d bytes delivered to the site %.1f %% were saved; %.3f copies of what was published were drawn", site.delivered, 100*saved, copies)
	if saved < 1./3 || copies > maxCopies || site.drawn < site.most { // the node may have one that no device has yet
		t.Errorf("%d bytes were published, %d delivered, to one device %d, %d drawn: saved %.3f, %.3f copies",
			published, site.delivered, site.most, site.drawn, saved, copies)
	}
}

// agree sums what the programs say of the site, and says in which they do not agree.
func agree(t *testing.T, d *loop.Demo) (site site, why string) {
	t.Helper()
	whole := sums(d.Sizes())
	for _, p := range d.Places {
		m := metricsOf(t, p)
		switch {
		case m != pageOf(t, p):
			return site, "the page of " + p.Name + " and its metrics"
		case m.delivered == 0 || !whole[m.delivered]:
			return site, p.Name + " and what was published"
		}
		site.drawn += m.drawn
		site.delivered += m.delivered
		site.most = max(site.most, m.delivered)
	}
	if sent, broken := d.Logged(); site.drawn > sent || site.drawn < sent-broken {
		return site, "the metrics and the access logs"
	}
	return site, ""
}

// sums are the lengths of all sets of updates.
func sums(sizes []int64) map[int64]bool {
	out := map[int64]bool{0: true}
	for _, n := range sizes {
		with := make(map[int64]bool, 2*len(out))
		for sum := range out {
			with[sum], with[sum+n] = true, true
		}
		out = with
	}
	return out
}

func total(sizes []int64) (sum int64) {
	for _, n := range sizes {
		sum += n
	}
	return sum
}

func metricsOf(t *testing.T, p loop.Place) moved {
	t.Helper()
	text := fetch(t, "http://"+p.Metrics+"/metrics")
	return moved{sum(t, text, "dunlin_origin_bytes_total"), sum(t, text, "dunlin_content_bytes_total")}
}

// pageOf is the same from the page. A device keeps what it got; a node delivers what it sends by HTTP, here never to a device.
func pageOf(t *testing.T, p loop.Place) moved {
	t.Helper()
	var data struct {
		Start struct {
			Origin int64 `json:"from_origin"`
			Kept   int64 `json:"kept"`
			HTTP   int64 `json:"by_http"`
		} `json:"since_start"`
	}
	if err := json.Unmarshal([]byte(fetch(t, p.Page+"data.json")), &data); err != nil {
		t.Fatal(err)
	}
	if p.Name == loop.NodeName {
		return moved{data.Start.Origin, data.Start.HTTP}
	}
	return moved{data.Start.Origin, data.Start.Kept}
}

// sum adds the samples of one metric.
func sum(t *testing.T, text, name string) (total int64) {
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
		total += int64(v)
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
