package fetchtest_test

import (
	"testing"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/piecehash"
)

// The origin in memory keeps the contract too, else tests with it would prove little.
func TestWebServer(t *testing.T) {
	t.Parallel()
	fetchtest.TestOrigin(t, func(_ *testing.T, data []byte, m *piecehash.Manifest) fetch.Origin {
		return &fetchtest.WebServer{M: m, Data: data, Line: fetchtest.NewPipe(100 << 20)}
	})
}
