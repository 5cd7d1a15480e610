package page_test

import (
	"context"
	_ "embed"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

const chromium = "/usr/bin/chromium"

//go:embed testdata/axe-core/axe.min.js
var axe string

// browser is one Chromium without a window.
type browser struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's way to name a browser
}

// newBrowser starts one. The name of a stranger leads it to this machine, as the stranger's name server would.
func newBrowser(t *testing.T) *browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("host-resolver-rules", "MAP stranger.example 127.0.0.1"),
		chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("hide-scrollbars", true),
	)
	alloc, stopAlloc := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(stopAlloc)
	ctx, stop := chromedp.NewContext(alloc)
	t.Cleanup(stop)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", chromium, err)
	}
	return &browser{t, ctx}
}

// tab is one page of the browser, and what was said of it.
type tab struct {
	t   *testing.T
	ctx context.Context //nolint:containedctx // chromedp's way to name a tab

	mu     sync.Mutex // guards the rest
	asked  []string   // URLs
	errors []string   // of the console: exceptions, failed requests, what the policy forbade
}

// look is how a person looks at a page.
type look struct {
	width, height int64
	dark, still   bool // prefers a dark page; prefers no motion
	print         bool
}

func (b *browser) open(t *testing.T) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(b.ctx)
	t.Cleanup(stop)
	p := &tab{t: t, ctx: ctx}
	p.do()
	if err := chromedp.Listen(ctx, p.hear); err != nil {
		t.Fatal(err)
	}
	call(p, network.Enable, network.EnableParams{})
	call(p, cdplog.Enable, cdp.Empty{})
	call(p, runtime.Enable, cdp.Empty{})
	return p
}

func (p *tab) hear(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		p.asked = append(p.asked, e.Request.URL)
	case *runtime.EventExceptionThrown:
		p.errors = append(p.errors, e.ExceptionDetails.Text)
	case *runtime.EventConsoleAPICalled:
		p.errors = append(p.errors, "console."+string(e.Type)) // the page's script says nothing
	case *cdplog.EventEntryAdded:
		p.errors = append(p.errors, string(e.Entry.Level)+": "+e.Entry.Text+" "+e.Entry.URL)
	}
}

func (p *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	if err := chromedp.Do(p.ctx, actions...); err != nil {
		p.t.Fatal(err)
	}
}

// call gives the browser a command of its protocol.
func call[P, R any](p *tab, cmd cdp.Command[P, R], params P) R {
	p.t.Helper()
	r, err := chromedp.Call(p.ctx, cmd, params)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// as sets how the page is looked at.
func (p *tab) as(l look) {
	p.t.Helper()
	feature := func(name, yes, no string, is bool) *emulation.MediaFeature {
		if is {
			return &emulation.MediaFeature{Name: name, Value: yes}
		}
		return &emulation.MediaFeature{Name: name, Value: no}
	}
	media := "screen"
	if l.print {
		media = "print"
	}
	call(p, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1})
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Media: media, Features: []*emulation.MediaFeature{
		feature("prefers-color-scheme", "dark", "light", l.dark),
		feature("prefers-reduced-motion", "reduce", "no-preference", l.still),
	}})
}

func (p *tab) visit(url string) {
	p.t.Helper()
	p.do(chromedp.Navigate(url))
}

// eval returns the value of an expression; the policy of the page does not bind who debugs it.
func eval[T any](p *tab, expression string) T {
	p.t.Helper()
	v, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		p.t.Fatalf("%.200s: %v", expression, err)
	}
	return v
}

// until waits for an expression to become true.
func (p *tab) until(what, expression string) {
	p.t.Helper()
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if eval[bool](p, expression) {
			return
		}
	}
	p.t.Fatalf("%s: not in time; the page says:\n%s", what, eval[string](p, "document.body.innerText"))
}

// quiet checks that nothing went wrong and that nobody else was asked.
func (p *tab) quiet(url string) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.errors {
		p.t.Errorf("console of %s: %s", url, e)
	}
	if len(p.asked) == 0 {
		p.t.Error("no request was seen: the test is blind")
	}
	for _, u := range p.asked {
		if !strings.HasPrefix(u, url) {
			p.t.Errorf("%s asked %s", url, u)
		}
	}
}

// violation is one rule of axe-core that a page breaks.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct {
		HTML           string
		FailureSummary string
	}
}

// usable has axe-core look at the page as it is.
func (p *tab) usable(what string) {
	p.t.Helper()
	p.do(chromedp.Evaluate[chromedp.Void](axe))
	var report struct {
		Violations []violation
		Passes     []violation
	}
	text := eval[string](p, `axe.run(document, {resultTypes: ["violations"]}).then(JSON.stringify)`)
	if err := json.Unmarshal([]byte(text), &report); err != nil {
		p.t.Fatal(err)
	}
	if len(report.Passes) < 10 {
		p.t.Errorf("%s: axe-core checked %d rules only", what, len(report.Passes))
	}
	for _, v := range report.Violations {
		if v.Impact != "serious" && v.Impact != "critical" {
			p.t.Logf("%s: %s: %s: %s", what, v.Impact, v.ID, v.Help)
			continue
		}
		for _, n := range v.Nodes {
			p.t.Errorf("%s: %s: %s: %s\n%s\n%s", what, v.Impact, v.ID, v.Help, n.HTML, n.FailureSummary)
		}
	}
}
