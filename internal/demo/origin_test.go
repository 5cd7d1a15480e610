package demo_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/dunlin-project/dunlin/internal/demo"
)

func TestOriginLogsWhatItSent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	body := bytes.Repeat([]byte("dunlin "), 20_000)
	if err := os.WriteFile(filepath.Join(dir, "f"), body, 0o600); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(t.TempDir(), "access.log")
	ctx, cancel := context.WithCancel(t.Context())
	addr := make(chan string, 1)
	done := make(chan error, 1)
	go func() {
		done <- demo.ServeOrigin(ctx, demo.OriginConfig{Listen: "127.0.0.1:0", Root: dir, Rate: 64 << 20, AccessLog: log}, func(a string) { addr <- a })
	}()
	base := "http://" + <-addr
	for _, want := range []struct {
		path, rng string
		status    int
		body      []byte
	}{
		{"/f", "", 200, body},
		{"/f", "bytes=10-109", 206, body[10:110]},
		{"/none", "", 404, nil},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, base+want.path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if want.rng != "" {
			req.Header.Set("Range", want.rng)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != want.status || want.body != nil && !bytes.Equal(got, want.body) {
			t.Errorf("%s %s: %d, %d bytes, %v", want.path, want.rng, resp.StatusCode, len(got), err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	records, err := demo.ReadAccessLog(log)
	if err != nil || len(records) != 3 {
		t.Fatalf("%v, %v", records, err)
	}
	if records[0].Bytes != int64(len(body)) || records[1].Bytes != 100 || records[1].Range != "bytes=10-109" || records[2].Status != 404 {
		t.Errorf("%+v", records)
	}
}
