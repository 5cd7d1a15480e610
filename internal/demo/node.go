package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/dunlin-project/dunlin/cachenode"
)

// node is the cache node of a demonstration.
type node struct {
	addr, http, metrics, page string
	dir                       string
	peer                      string // multiaddr
	process                   *process
}

// startNode enrols a cache node with the token of the devices, and starts it before they are.
func (s *stage) startNode(ctx context.Context) (err error) {
	n := &node{addr: s.net.host(3), dir: s.path("cache")}
	for _, port := range []*string{&n.http, &n.metrics} {
		if *port, err = free(n.addr); err != nil {
			return err
		}
	}
	if n.page, err = free(n.addr); err != nil {
		return err
	}
	config := s.path("cache.yaml") // else that of this machine would be read
	if err := os.WriteFile(config, []byte("interval: 2s\n"), 0o600); err != nil {
		return err
	}
	if _, err := s.run(ctx, "cache", "join", s.token, "--config", config, "--dir", n.dir); err != nil {
		return err
	}
	id, err := peerID(n.dir)
	if err != nil {
		return err
	}
	n.peer = fmt.Sprintf("/ip4/%s/tcp/7680/p2p/%s", n.addr, id)
	args := []string{
		"cache", "run", "--config", config, "--dir", n.dir, "--listen", net.JoinHostPort(n.addr, "7680"), "--http", n.http,
		"--metrics", n.metrics, "--page", n.page, "--json",
	}
	for _, d := range s.devices {
		args = append(args, "--peer", d.peer)
	}
	if n.process, err = s.start(ctx, "cache node", args...); err != nil {
		return err
	}
	s.node = n
	return n.process.waitFor(ctx, `"event":"listening"`)
}

// waitStored waits until the node has the update too: only then is its count of origin bytes complete.
func (s *stage) waitStored(ctx context.Context) error {
	return s.node.process.waitFor(ctx, `"event":"stored"`)
}

// received is what the node says of the fetch that waitStored waited for.
func (n *node) received() (*Device, error) {
	for line := range strings.Lines(n.process.printed()) {
		var e cachenode.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Event != cachenode.Stored || e.From == nil {
			continue
		}
		return &Device{Name: "cache node", Addr: n.addr, From: From(*e.From), Waste: e.Waste, Seconds: e.Seconds}, nil
	}
	return nil, errors.New("the cache node does not say what it has received")
}
