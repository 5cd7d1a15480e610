// Package links_test shows that devices on one network find each other and connect: real hosts, nothing configured.
package links_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
	"github.com/dunlin-project/dunlin/swarm"
)

// The rounds of a host, which all hosts begin at the same instants.
const (
	hosts      = 6
	roundTime  = 4 * time.Second
	linksWait  = 2500 * time.Millisecond // then the round is judged
	linksBound = time.Second             // within which all must be connected
	leaveAfter = 500 * time.Millisecond
	starved    = 100 * time.Millisecond // a host that slept so much too long shows a machine too busy to judge time
)

// hostEnv makes this test binary one host: "START,ROUNDS" with START in Unix milliseconds.
const hostEnv = "DUNLIN_TEST_LINKS"

func TestMain(m *testing.M) {
	for env, run := range map[string]func(string) error{hostEnv: host, slowEnv: slowHost, groupEnv: groupHost} {
		if v := os.Getenv(env); v != "" {
			if err := run(v); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
			return
		}
	}
	os.Exit(m.Run())
}

// round is what a host says about one round.
type round struct {
	Round     int   `json:"round"`
	Connected int64 `json:"connected_ms"` // until all links stood, -1 never
	Links     int   `json:"links"`
	TCP       int   `json:"tcp"`       // established connections in the kernel
	Overslept int64 `json:"overslept"` // milliseconds, at most in one of many short sleeps
}

// host runs the rounds, each with a node of a new key, and prints one line for each.
func host(v string) error {
	at, n, _ := strings.Cut(v, ",")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(n)
	if err != nil {
		return err
	}
	for i := range rounds {
		start := time.UnixMilli(ms).Add(time.Duration(i) * roundTime)
		r, err := oneRound(i, start)
		if err != nil {
			return err
		}
		if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
			return err
		}
	}
	return nil
}

func oneRound(i int, start time.Time) (round, error) {
	n, err := swarm.New(swarm.Config{
		Listen: []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), swarm.DefaultPort)}, Discover: true,
	})
	if err != nil {
		return round{}, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	time.Sleep(time.Until(start))
	go func() { n.Run(ctx); close(done) }()
	r := round{Round: i, Connected: -1}
	for time.Since(start) < linksWait {
		if r.Connected < 0 && len(n.Peers()) == hosts-1 {
			r.Connected = time.Since(start).Milliseconds()
		}
		r.Overslept = max(r.Overslept, overslept().Milliseconds())
	}
	r.Links = len(n.Peers())
	r.TCP, err = established()
	time.Sleep(leaveAfter) // the others may still be counting
	cancel()
	<-done
	return r, err
}

// overslept sleeps for a moment and returns how much longer it took.
func overslept() time.Duration {
	const moment = 5 * time.Millisecond
	was := time.Now()
	time.Sleep(moment)
	return time.Since(was) - moment
}

// established counts the host's established connections from or to the swarm's port.
func established() (int, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	port := fmt.Sprintf(":%04X", swarm.DefaultPort)
	n := 0
	for s := bufio.NewScanner(f); s.Scan(); {
		x := strings.Fields(s.Text())
		if len(x) > 3 && x[3] == "01" && (strings.HasSuffix(x[1], port) || strings.HasSuffix(x[2], port)) {
			n++
		}
	}
	return n, nil
}

// TestHostsStartedTogether: every pair has exactly one connection, and soon. DUNLIN_E2E=1 runs all rounds and holds them
// to the bound; without it a few rounds show that it works at all.
func TestHostsStartedTogether(t *testing.T) {
	rounds, strict := 3, os.Getenv("DUNLIN_E2E") != ""
	if strict {
		rounds = 20
	}
	var maker lab.Maker
	l := maker.New(t)
	start := time.Now().Add(4 * time.Second)
	env := []string{fmt.Sprintf("%s=%d,%d", hostEnv, start.UnixMilli(), rounds)}
	var outs []*lab.Output
	for range hosts {
		outs = append(outs, l.Host(lab.Options{}).Start(t, env, os.Args[0]))
	}
	slowest, busy := make([]int64, rounds), make([]bool, rounds)
	for h, out := range outs {
		for i := range rounds {
			line := out.Wait(t, fmt.Sprintf(`{"round":%d,`, i), max(time.Until(start), 0)+time.Duration(i+3)*roundTime)
			var r round
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			slowest[i] = max(slowest[i], r.Connected)
			if r.Links != hosts-1 || r.TCP != hosts-1 || r.Connected < 0 {
				t.Errorf("host %d, round %d: %d links over %d connections after %v, want %d", h, i, r.Links, r.TCP, linksWait, hosts-1)
			}
			busy[i] = busy[i] || r.Overslept > starved.Milliseconds()
		}
	}
	for i, ms := range slowest {
		if strict && !busy[i] && ms > linksBound.Milliseconds() {
			t.Errorf("round %d: connected after %d ms, want %v", i, ms, linksBound)
		}
	}
	t.Logf("milliseconds until all of %d hosts were connected: %v; machine too busy to judge: %v", hosts, slowest, busy)
}
