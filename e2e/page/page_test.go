package page_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// TestPages opens the pages of a device and of the node while updates move, and after.
func TestPages(t *testing.T) {
	lab.Need(t, chromium)
	s := newSite(t)
	b := newBrowser(t)
	pages := map[string]string{"device": s.devices[0].page, "node": s.node.page}

	s.publish("fonts", "3.1", "Fonts for all offices", 2<<20, true)
	s.publish("viewer", "9.4", "Document viewer", 3<<20, false)
	s.installed("fonts", "3.1")
	s.publish("suite", "24.8", "Office suite", 60<<20, true) // 20 s and more at the publisher's line
	for name, url := range pages {
		t.Run(name+" moves", func(t *testing.T) { moves(t, b.open(t), url) })
	}
	for name, url := range pages {
		pictures(t, b.open(t), name, url)
	}
	s.installed("suite", "24.8")
	for name, url := range pages {
		t.Run(name+" is usable", func(t *testing.T) { usable(t, b.open(t), url) })
		t.Run(name+" by keyboard", func(t *testing.T) { byKeyboard(t, b.open(t), url) })
		t.Run(name+" without script", func(t *testing.T) { withoutScript(t, b.open(t), url) })
		t.Run(name+" and strangers", func(t *testing.T) { strangers(t, b, url) })
	}
	t.Run("what they say", func(t *testing.T) { says(t, b, s) })
}

// moves: figures change under the reader's eyes, without a reload, an error, or a question to anybody else.
func moves(t *testing.T, p *tab, url string) {
	p.as(look{width: 1200, height: 900})
	p.visit(url)
	p.until("a transfer", `document.querySelector("#transfers progress") !== null`)
	p.until("something comes in", `!document.querySelector("#now-tiles dd").textContent.startsWith("0 B")`)
	p.do(chromedp.Evaluate[chromedp.Void](`window.sameDocument = true`))
	first := eval[float64](p, `document.querySelector("#transfers progress").value`)
	p.until("progress", fmt.Sprintf(`(document.querySelector("#transfers progress")?.value ?? Infinity) > %f`, first))
	p.until("a line of the picture", `document.querySelector("#picture .line:not(.idle)") !== null`)
	p.until("why a source is not asked for more", `document.querySelectorAll("#transfers .sources tbody tr").length > 1`)
	if !eval[bool](p, `window.sameDocument === true`) {
		t.Error("the page was loaded anew")
	}
	if moving := eval[string](p, `getComputedStyle(document.querySelector(".pulse")).animationName`); moving == "none" {
		t.Error("nothing moves in the picture")
	}
	p.as(look{width: 1200, height: 900, still: true})
	if moving := eval[string](p, `getComputedStyle(document.querySelector(".pulse") ?? document.body).animationName`); moving != "none" {
		t.Errorf("it moves for who wants no motion: %s", moving)
	}
	p.usable("while it moves")
	p.quiet(url)
}

// usable: axe-core finds nothing serious in light and dark, wide and narrow, on paper, with everything unfolded; and nothing
// is wider than a narrow screen.
func usable(t *testing.T, p *tab, url string) {
	for _, l := range []look{
		{width: 1440, height: 900},
		{width: 1440, height: 900, dark: true},
		{width: 320, height: 640},
		{width: 320, height: 640, dark: true},
		{width: 800, height: 1100, print: true},
	} {
		p.as(l)
		p.visit(url)
		p.do(chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => d.open = true)`))
		what := fmt.Sprintf("%s %+v", url, l)
		p.usable(what)
		if w := eval[int64](p, `document.documentElement.scrollWidth`); w > l.width {
			t.Errorf("%s: it is %d wide", what, w)
		}
		if small := eval[int](p, `[...document.querySelectorAll("body *")].filter(e => e.childElementCount === 0 && e.textContent.trim() &&
			e.getClientRects().length && e.closest("svg") === null && parseFloat(getComputedStyle(e).fontSize) < 12).length`); small > 0 {
			t.Errorf("%s: %d texts are smaller than 12 px", what, small)
		}
	}
	p.quiet(url)
}

// byKeyboard walks through the page with the tabulator alone.
func byKeyboard(t *testing.T, p *tab, url string) {
	p.as(look{width: 1200, height: 900})
	p.visit(url)
	type stop struct {
		Text    string
		Visible bool
	}
	const where = `(() => { const e = document.activeElement, s = getComputedStyle(e), r = e.getBoundingClientRect();
		return {text: e.textContent.trim().replace(/\s+/g, " "), visible: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 &&
			r.width > 0 && r.bottom > 0 && r.top < innerHeight} })()`
	var got []string
	for range 10 {
		p.do(chromedp.KeyEvent(kb.Tab))
		time.Sleep(50 * time.Millisecond)
		at := eval[stop](p, where)
		got = append(got, at.Text)
		if !at.Visible {
			t.Errorf("one cannot see that %q has the focus", at.Text)
		}
	}
	items := "Updates"
	if strings.Contains(eval[string](p, "document.title"), "cache node") {
		items = "Content"
	}
	want := []string{
		"Skip to the content", "Pause", "Moving now", "Saved", "Peers", items, "Decisions",
		"The figures of the last 6 hours", "The figures of the last 30 days", "data.json",
	}
	if g, w := strings.Join(got, " | "), strings.Join(want, " | "); g != w {
		t.Errorf("the tabulator goes\n%s\nwant\n%s", g, w)
	}

	// The skip link leads into the content; a table unfolds, and stays so when the figures are renewed.
	p.visit(url)
	p.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	p.until("the skip link", `document.activeElement.id === "main"`)
	p.do(chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter))
	p.until("the unfolded table", `document.activeElement.closest("details")?.open === true`)
	clock := eval[string](p, `document.getElementById("as-of").textContent`)
	p.until("a renewal", fmt.Sprintf(`document.getElementById("as-of").textContent !== %q`, clock))
	if !eval[bool](p, `document.activeElement.closest("details")?.open === true`) {
		t.Error("the renewal took the focus away, or folded the table")
	}

	// Pause stops the renewal, and says that it does.
	p.do(chromedp.Evaluate[chromedp.Void](`document.getElementById("pause").focus()`), chromedp.KeyEvent(" "))
	p.until("the pressed button", `document.getElementById("pause").getAttribute("aria-pressed") === "true"`)
	clock = eval[string](p, `document.getElementById("as-of").textContent`)
	time.Sleep(5 * time.Second)
	if now := eval[string](p, `document.getElementById("as-of").textContent`); now != clock {
		t.Errorf("it is renewed while it pauses: %s, %s", clock, now)
	}
	p.do(chromedp.KeyEvent(" "))
	p.until("a renewal after the pause", fmt.Sprintf(`document.getElementById("as-of").textContent !== %q`, clock))
	p.quiet(url)
}

// withoutScript: everything is there, and a link loads it anew.
func withoutScript(t *testing.T, p *tab, url string) {
	p.as(look{width: 1200, height: 900})
	call(p, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	p.visit(url)
	for what, expression := range map[string]string{
		"a link to reload":  `document.querySelector("noscript a[href='/']")?.getClientRects().length > 0`,
		"no button":         `document.getElementById("pause").getClientRects().length === 0`,
		"peers":             `document.querySelectorAll("#peer-rows tr").length >= 2`,
		"items":             `document.querySelectorAll("#item-rows tr").length >= 1`,
		"decisions":         `document.querySelectorAll("#decision-rows tr").length >= 1`,
		"a picture":         `document.querySelectorAll("#picture > svg").length === 2`,
		"charts":            `document.querySelectorAll(".chart svg rect").length >= 2`,
		"it asks only once": `document.querySelector("meta[http-equiv]") === null`,
	} {
		if !eval[bool](p, expression) {
			t.Errorf("there is not: %s", what)
		}
	}
	p.quiet(url)
}

// strangers: a page of another origin can read nothing here, also when its own name leads to this machine.
func strangers(t *testing.T, b *browser, own string) {
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<script src="%[1]sdata.json" onload="got('script')" onerror="failed('script')"></script>
			<img src="%[1]sstatic/mark.svg" onload="got('image')" onerror="failed('image')"><iframe src="%[1]s"></iframe>`, own)
	}))
	defer evil.Close()
	p := b.open(t)
	p.visit(evil.URL)
	for _, mode := range []string{"cors", "no-cors"} {
		got := eval[string](p, fmt.Sprintf(`fetch("%sdata.json", {mode: %q}).then(async r => r.type + " " + (await r.text()).length, e => "refused")`, own, mode))
		if got != "refused" {
			t.Errorf("a stranger's page reads data.json with %s: %s", mode, got)
		}
	}
	if text := eval[string](p, `(() => { try { return frames[0].document.body.innerText } catch { return "" } })()`); strings.Contains(text, "Dunlin") {
		t.Error("a stranger's page frames it")
	}

	u, err := url.Parse(own)
	if err != nil {
		t.Fatal(err)
	}
	rebound := "http://" + net.JoinHostPort("stranger.example", u.Port()) + "/"
	q := b.open(t)
	q.visit(rebound)
	if text := eval[string](q, "document.body.innerText"); !strings.Contains(text, "for this machine alone") || strings.Contains(text, "Peers") {
		t.Errorf("by a stranger's name it says %q", text)
	}
	if got := eval[int](q, `fetch("/data.json").then(r => r.status)`); got != http.StatusMisdirectedRequest {
		t.Errorf("by a stranger's name data.json answers %d", got)
	}
}

// says: the figures on the pages are those of the site.
func says(t *testing.T, b *browser, s *site) {
	d := b.open(t)
	d.visit(s.devices[0].page)
	st := s.status(s.devices[0])
	for _, u := range st.Updates {
		if !eval[bool](d, fmt.Sprintf(`document.getElementById("item-rows").innerText.includes(%q)`, u.Title)) {
			t.Errorf("the page of the device does not name %q", u.Title)
		}
	}
	var received, origin int64
	for _, u := range st.Updates {
		if u.Transfer != nil {
			received += u.Transfer.From.Total() - u.Transfer.Waste
			origin += u.Transfer.From.Origin
		}
	}
	d.until("the day's sum", fmt.Sprintf(`fetch("/data.json").then(r => r.json()).then(j => j.last_24_hours.kept === %d && j.last_24_hours.from_origin === %d)`,
		received, origin))
	d.until("as many peers", fmt.Sprintf(`document.querySelectorAll("#peer-rows tr").length === %d`, devices))
	if !eval[bool](d, `document.getElementById("decision-rows").innerText.includes("installed")`) {
		t.Error("the page of the device does not say that it installed something")
	}
	n := b.open(t)
	n.visit(s.node.page)
	n.until("the contents of the node", `document.querySelectorAll("#item-rows tr").length >= 3`)
	var given int64 // whether a device takes anything of the node or all of other devices is a matter of chance
	for _, d := range s.devices {
		for _, u := range s.status(d).Updates {
			if u.Transfer != nil {
				given += u.Transfer.From.Cache
			}
		}
	}
	n.until("what the node gave", fmt.Sprintf(`fetch("/data.json").then(r => r.json()).then(j => j.last_24_hours.to_devices + j.last_24_hours.by_http >= %d && j.last_24_hours.kept_ahead > 0)`, given))
}
