package depot

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// parseResponse reads one whole HTTP response.
func parseResponse(t *testing.T, method string, raw []byte) (*http.Response, []byte) {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%v in %q", err, raw[:min(len(raw), 200)])
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("read body: %v", err)
	}
	return resp, body
}
