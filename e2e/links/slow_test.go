package links_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/fetch/fetchtest"
	"github.com/dunlin-project/dunlin/swarm"
)

// The slow uplink: one seeder behind a thin line that serves as many as there are, who ask for all they can.
const (
	slowLeechers = 11
	slowRate     = "10mbit"
	slowTime     = 12 * time.Second
	slowWarmUp   = 3 * time.Second        // not judged: the rate is being learnt
	slowBound    = 500 * time.Millisecond // 99 of 100 messages
	slowPiece    = 256 << 10
)

// slowEnv makes this test binary the seeder ("seed"), or a leecher of it (its multiaddr).
const slowEnv = "DUNLIN_TEST_SLOW"

func slowHost(v string) error {
	data, m := fetchtest.Content(5, 64<<20, slowPiece)
	cfg := swarm.Config{Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), swarm.DefaultPort)}}
	part := fetchtest.NewPart(m)
	if v == "seed" {
		part = fetchtest.FullPart(m, data)
	} else {
		cfg.Peers = []string{v}
	}
	n, err := swarm.New(cfg)
	if err != nil {
		return err
	}
	room, err := n.Join(part)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go n.Run(ctx)
	if v == "seed" {
		fmt.Println("addr", n.Addrs()[0])
		return sayTheTime(ctx, room)
	}
	return hearTheTime(ctx, room, m.Pieces())
}

// clock is the time in milliseconds, small enough for a claim.
func clock() int64 { return time.Now().UnixMilli() % 1_000_000_000 }

// sayTheTime claims something again and again; how much of it is done is the time, in milliseconds.
func sayTheTime(ctx context.Context, room *swarm.Room) error {
	for ctx.Err() == nil {
		room.Say(fetch.SayClaim{First: 0, Count: 1, Done: clock()})
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// hearTheTime asks for pieces without end and prints how late it hears the time.
func hearTheTime(ctx context.Context, room *swarm.Room, pieces int) error {
	var late []int
	var src fetch.Peer
	start := time.Now()
	for h := range room.Hear() {
		switch h := h.(type) {
		case fetch.Joined:
			src = h.Peer
			for k := range 4 {
				go greedy(ctx, src, k, pieces)
			}
		case fetch.Said:
			if c, ok := h.What.(fetch.SayClaim); ok && time.Since(start) > slowWarmUp {
				late = append(late, int(clock()-c.Done))
			}
		}
		if time.Since(start) > slowTime {
			break
		}
	}
	slices.Sort(late)
	if len(late) == 0 {
		return fmt.Errorf("nothing was heard")
	}
	fmt.Printf("late n=%d p50=%d p99=%d max=%d\n", len(late), late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
	return nil
}

// nowhere is a sink that keeps nothing.
type nowhere struct{}

func (nowhere) Progress(context.Context, int) {}
func (nowhere) Piece(int, []byte) error       { return nil }

func greedy(ctx context.Context, src fetch.Peer, k, pieces int) {
	for i := k; ctx.Err() == nil; i++ {
		if err := src.Fetch(ctx, i%pieces, nowhere{}); err != nil {
			time.Sleep(20 * time.Millisecond) // busy, most likely
		}
	}
}

// TestControlIsPromptOnASlowUplink: claims and haves do not wait behind payload. DUNLIN_E2E=1 only: it takes a while.
func TestControlIsPromptOnASlowUplink(t *testing.T) {
	if os.Getenv("DUNLIN_E2E") == "" {
		t.Skip("runs with DUNLIN_E2E=1")
	}
	var maker lab.Maker
	l := maker.New(t)
	seed := l.Host(lab.Options{Rate: slowRate}).Start(t, []string{slowEnv + "=seed"}, os.Args[0])
	addr := strings.Fields(seed.Wait(t, "addr ", 20*time.Second))[1]
	var outs []*lab.Output
	for range slowLeechers {
		outs = append(outs, l.Host(lab.Options{}).Start(t, []string{slowEnv + "=" + addr}, os.Args[0]))
	}
	for i, out := range outs {
		line := out.Wait(t, "late n=", slowTime+30*time.Second)
		t.Logf("leecher %d: %s (milliseconds)", i, line)
		_, p99, _ := strings.Cut(line, "p99=")
		p99, _, _ = strings.Cut(p99, " ")
		if ms, err := strconv.Atoi(p99); err != nil || time.Duration(ms)*time.Millisecond > slowBound {
			t.Errorf("leecher %d: %s, want p99 within %v", i, line, slowBound)
		}
	}
}
