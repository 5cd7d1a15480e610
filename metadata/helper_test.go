package metadata_test

import (
	"errors"
	"net/url"
	"os"
	"testing"
)

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// direct is no proxy.
func direct(*url.URL) (*url.URL, error) { return nil, nil }

// is reports whether an error of type E is in the chain.
func is[E error](err error) bool { var e E; return errors.As(err, &e) }
