package lab_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// TestHostsReachEachOther: two hosts, one link each, and nothing else in reach.
func TestHostsReachEachOther(t *testing.T) {
	var maker lab.Maker
	l := maker.New(t)
	a, b := l.Host(lab.Options{}), l.Host(lab.Options{Rate: "1gbit"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	hello := b.Start(t, nil, "sh", "-c", "echo ready; exec sleep 60")
	hello.Wait(t, "ready", 5*time.Second)
	out, err := a.Run(ctx, nil, "sh", "-c", "ip neigh flush all; bash -c 'exec 3<>/dev/tcp/"+b.Addr+"/1' 2>&1; ip neigh show "+b.Addr)
	if err != nil || !strings.Contains(out, "refused") || !strings.Contains(out, "lladdr") {
		t.Errorf("%v: %s", err, out)
	}
	out, err = a.Run(ctx, nil, "ip", "route", "show", "default")
	if err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("there is a way out: %v: %s", err, out)
	}
}

// TestHostsHaveTheirOwnFiles: what one writes the other does not see, nor does the machine.
func TestHostsHaveTheirOwnFiles(t *testing.T) {
	var maker lab.Maker
	l := maker.New(t)
	a, b := l.Host(lab.Options{}), l.Host(lab.Options{})
	a.OwnFiles(t, map[string]string{"/usr/local/bin/hello": "/bin/echo"})
	b.OwnFiles(t, nil)
	a.Knows(t, "b.example", b.Addr)
	out, err := a.Run(t.Context(), nil, "sh", "-c", "mkdir -p /etc/dunlin-test && echo x > /etc/dunlin-test/x && hello ok && getent hosts b.example")
	if err != nil || !strings.Contains(out, "ok") || !strings.Contains(out, b.Addr) {
		t.Errorf("%v: %s", err, out)
	}
	if out, err := b.Run(t.Context(), nil, "ls", "/etc/dunlin-test"); err == nil {
		t.Errorf("the other host sees it: %s", out)
	}
	if _, err := os.Stat("/etc/dunlin-test"); err == nil {
		t.Error("it was written to the machine")
	}
}
