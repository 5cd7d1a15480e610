package links_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm"
)

// groupEnv makes this test binary a member of the group it names, or ("SNIFF") somebody who only listens.
const groupEnv = "DUNLIN_TEST_GROUP"

const groupTime = 4 * time.Second

// groupHost shares something for a while and prints how many peers it had.
func groupHost(group string) error {
	if group == "SNIFF" {
		return sniff()
	}
	n, err := swarm.New(swarm.Config{
		Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), swarm.DefaultPort)}, Discover: true, Group: group,
	})
	if err != nil {
		return err
	}
	data, m := fetchtest.Content(5, 1<<20, 256<<10)
	if _, err := n.Join(fetchtest.FullPart(m, data)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), groupTime+2*time.Second)
	defer cancel()
	time.AfterFunc(groupTime, func() { fmt.Println("peers", len(n.Peers())) })
	if err := n.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

// sniff hears what is multicast and looks for names in it: of the machine, of the group, of the content.
func sniff() error {
	c, err := net.ListenMulticastUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Println("listening")
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	_, m := fetchtest.Content(5, 1<<20, 256<<10)
	root := m.Root()
	c.SetReadDeadline(time.Now().Add(groupTime + 3*time.Second))
	heard, b := 0, make([]byte, 64<<10)
	for {
		n, err := c.Read(b)
		if err != nil {
			break
		}
		if !bytes.Contains(b[:n], []byte("_dunlin")) {
			continue
		}
		heard++
		if len(host) < 5 {
			host = "accounts" // so short a name may stand in any id
		}
		for _, name := range []string{host, "accounts", "7th floor", root.String(), string(root[:])} {
			if bytes.Contains(bytes.ToLower(b[:n]), bytes.ToLower([]byte(name))) {
				fmt.Printf("found %q\n", name)
			}
		}
	}
	fmt.Println("heard", heard)
	return nil
}

// TestGroupsStayApart: devices of two groups on one network connect within their group only, and who listens to the
// network learns no names.
func TestGroupsStayApart(t *testing.T) {
	var maker lab.Maker
	l := maker.New(t)
	spy := l.Host(lab.Options{}).Start(t, []string{groupEnv + "=SNIFF"}, os.Args[0])
	spy.Wait(t, "listening", 20*time.Second)
	var outs []*lab.Output
	for _, group := range []string{"accounts", "7th floor", "accounts", "7th floor"} {
		outs = append(outs, l.Host(lab.Options{}).Start(t, []string{groupEnv + "=" + group}, os.Args[0]))
	}
	for i, out := range outs {
		if got := out.Wait(t, "peers ", groupTime+20*time.Second); got != "peers 1" {
			t.Errorf("host %d has %s, want 1", i, got)
		}
	}
	if got := spy.Wait(t, "heard ", groupTime+20*time.Second); got == "heard 0" || strings.Contains(spy.String(), "found") {
		t.Errorf("the spy says: %s", spy)
	}
}
