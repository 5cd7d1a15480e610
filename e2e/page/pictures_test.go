package page_test

import (
	"bytes"
	"cmp"
	"flag"
	"image"
	"image/color"
	"image/png"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/chromedp/cdproto/page"
)

var screenshots = flag.String("screenshots", "", "leave pictures of the pages in this `DIR`")

// mostPicture bounds a picture, in bytes: it lies in the repository.
const (
	mostPicture = 150 << 10
	mostHeight  = 1640 // pixels: to the end of the peers
)

// pictures leaves screenshots of the page while it moves, if they are wanted.
func pictures(t *testing.T, p *tab, name, url string) {
	if *screenshots == "" {
		return
	}
	for _, l := range []look{{width: 1120, height: 1000}, {width: 1120, height: 1000, dark: true}} {
		p.as(l)
		p.visit(url)
		p.until("something comes in", `!document.querySelector("#now-tiles dd").textContent.startsWith("0 B")`)
		p.until("sources", `document.querySelectorAll("#transfers .sources tbody tr").length > 1`)
		height, beyond := min(mostHeight, eval[float64](p, `document.documentElement.scrollHeight`)), true
		shot := call(p, page.CaptureScreenshot, page.CaptureScreenshotParams{
			CaptureBeyondViewport: &beyond, Clip: &page.Viewport{Width: float64(l.width), Height: height, Scale: 1},
		})
		scheme := "light"
		if l.dark {
			scheme = "dark"
		}
		small := fewColours(t, shot.Data)
		file := filepath.Join(*screenshots, "page-"+name+"-"+scheme+".png")
		if err := os.WriteFile(file, small, 0o644); err != nil {
			t.Fatal(err)
		}
		if len(small) > mostPicture {
			t.Errorf("%s has %d bytes", file, len(small))
		}
	}
}

// fewColours makes a picture small: its most frequent colours stay, each other becomes the nearest of them.
func fewColours(t *testing.T, b []byte) []byte {
	t.Helper()
	img, err := png.Decode(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	count := make(map[color.Color]int)
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			count[img.At(x, y)]++
		}
	}
	colours := slices.SortedFunc(maps.Keys(count), func(a, b color.Color) int { return cmp.Compare(count[b], count[a]) })
	out := image.NewPaletted(img.Bounds(), colours[:min(len(colours), 256)])
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			out.Set(x, y, img.At(x, y))
		}
	}
	var small bytes.Buffer
	if err := (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&small, out); err != nil {
		t.Fatal(err)
	}
	return small.Bytes()
}
