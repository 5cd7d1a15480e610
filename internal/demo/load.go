package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net/http"
	"os"
	"slices"
	"time"
)

// Limits of the updates that a demonstration under load publishes.
const (
	loadID = "load"
	// loadKeep is how many of them stay approved. Devices keep what they have installed; the publisher's and the depot's
	// folders stay small.
	loadKeep = 4
	loadLeast,
	loadMost = 4 << 20, 24 << 20 // bytes of one
	loadAhead  = 8 * time.Second // what a node has to fetch before devices may: three of its intervals, and the line
	loadClient = time.Minute     // an HTTP client's patience with one download
)

// load publishes an update again and again, approves it, and downloads it by HTTP from the node as a machine without an
// agent does, so that there is something to see. Every other one is approved for a moment to come, as others are for the night:
// the node has it before anybody may. It returns when ctx ends.
func (s *stage) load(ctx context.Context) error {
	tick := time.NewTicker(s.Load)
	defer tick.Stop()
	for n := 1; ; n++ {
		if err := s.loadOnce(ctx, n); err != nil && ctx.Err() == nil {
			return fmt.Errorf("publish update %d under load: %w", n, err)
		}
		if err := s.alive(); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *stage) loadOnce(ctx context.Context, n int) error {
	version := loadVersion(n)
	root, err := s.publishLoad(ctx, version)
	if err != nil {
		return err
	}
	if _, err := s.run(ctx, "depot", "sync", "--dir", s.path("depot")); err != nil {
		return err
	}
	at, err := s.approveLoad(ctx, n)
	if err != nil {
		return err
	}
	if old := n - loadKeep; old > 0 {
		if err := s.forget(ctx, loadVersion(old)); err != nil {
			return err
		}
	}
	select {
	case <-time.After(time.Until(at)):
		return s.downloadByHTTP(ctx, root)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// approveLoad approves an update for now or, every other one, for a moment to come, which it returns.
func (s *stage) approveLoad(ctx context.Context, n int) (at time.Time, err error) {
	update := publisherName + "/" + loadID + "@" + loadVersion(n)
	args, said := []string{"depot", "approve", "--dir", s.path("depot"), "--ring", ringName, update}, ""
	if at = time.Now(); n%2 == 0 {
		at = at.Add(loadAhead)
		args = slices.Insert(args, 2, "--not-before", at.UTC().Format(time.RFC3339))
		said = fmt.Sprintf(", for %v from now", loadAhead)
	}
	if _, err := s.run(ctx, args...); err != nil {
		return at, err
	}
	_, err = fmt.Fprintf(s.Log, "- published and approved %s%s\n", update, said)
	return at, err
}

func loadVersion(n int) string { return fmt.Sprintf("1.0.%d", n) }

// publishLoad publishes random bytes, which no compression makes less, and returns their root.
func (s *stage) publishLoad(ctx context.Context, version string) (root string, err error) {
	name := s.path("load.bin")
	if err := writeRandom(name, loadLeast+mrand.Int64N(loadMost-loadLeast)); err != nil {
		return "", err
	}
	out, err := s.run(ctx, "publish", "add", s.path("publisher"), name, "--id", loadID, "--version", version, "--title", "An update under load",
		"--kind", "definition", "--handler", "file", "--dest", "/opt/"+loadID+"/load.bin", "--release", "--json")
	if err != nil {
		return "", err
	}
	var added struct{ Root string }
	if err := json.Unmarshal([]byte(out), &added); err != nil || added.Root == "" {
		return "", fmt.Errorf("publish add printed %q: %w", out, err)
	}
	return added.Root, os.Remove(name)
}

func writeRandom(name string, bytes int64) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	_, err = io.CopyN(f, rand.Reader, bytes)
	return err
}

// forget takes an old update back, from the depot first: what is approved must be in the catalogue.
func (s *stage) forget(ctx context.Context, version string) error {
	for _, args := range [][]string{
		{"depot", "unapprove", "--dir", s.path("depot"), publisherName + "/" + loadID + "@" + version},
		{"publish", "withdraw", s.path("publisher"), loadID + "@" + version, "--release"},
		{"publish", "sweep", s.path("publisher")},
	} {
		if _, err := s.run(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}

// downloadByHTTP is a device that runs no agent. What the node does not know yet it asks for again.
func (s *stage) downloadByHTTP(ctx context.Context, root string) error {
	ctx, cancel := context.WithTimeout(ctx, loadClient)
	defer cancel()
	for {
		status, err := get(ctx, "http://"+s.node.http+"/content/"+root)
		if err != nil || status == http.StatusOK {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("download %s from the cache node: it answers %d: %w", root, status, ctx.Err())
		case <-time.After(10 * pollEvery):
		}
	}
}

func get(ctx context.Context, url string) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
