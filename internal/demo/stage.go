package demo

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/swarm"
)

// stage is one demonstration while it is built. It belongs to Run.
type stage struct {
	Options
	net network

	payload string // file to publish
	source  string // file whose bytes must lie on every device in the end
	inside  string // its path below the destination; empty: it is the destination
	length  int64

	originAddr, depotTLS, depotPlain string
	token                            string
	devices                          []*device
	node                             *node // nil: none
	started                          time.Time
	took                             time.Duration

	procs []*process
}

type device struct {
	name, addr, config, state, control, root string
	metrics, page                            string // IP:PORT
	peer                                     string // multiaddr
	status                                   agent.Update
}

// network hands out loopback addresses of the demonstration's own, so that two of them do not meet.
type network struct{ second, third int }

func addresses(seed int) network { return network{64 + seed/250%128, 1 + seed%250} }

func (n network) host(i int) string { return fmt.Sprintf("127.%d.%d.%d", n.second, n.third, i) }

// free returns host with a port that nobody listens on.
func free(host string) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// pack makes the payload: the file that was named, or the binary itself as an archive.
func (s *stage) pack(context.Context) error {
	if err := os.WriteFile(s.path("passphrase"), []byte(passphrase), 0o600); err != nil {
		return err
	}
	s.payload, s.source = s.File, s.File
	if s.File == "" {
		s.payload, s.source, s.inside = s.path("dunlin.tar.zst"), s.Program, "bin/dunlin"
		if err := packBinary(s.payload, s.Program, s.inside); err != nil {
			return err
		}
	}
	info, err := os.Stat(s.payload)
	if err != nil {
		return err
	}
	s.length = info.Size()
	return nil
}

// packBinary writes an archive with one file.
func packBinary(to, from, name string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	z, err := zstd.NewWriter(out)
	if err != nil {
		return errors.Join(err, out.Close())
	}
	t := tar.NewWriter(z)
	err = t.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: info.Size(), ModTime: info.ModTime()})
	if err == nil {
		_, err = io.Copy(t, in)
	}
	return errors.Join(err, t.Close(), z.Close(), out.Close())
}

func (s *stage) publish(ctx context.Context) error {
	origin, err := free(s.net.host(2))
	if err != nil {
		return err
	}
	s.originAddr = origin
	if _, err := s.run(ctx, "publish", "init", s.path("publisher"), "--name", publisherName, "--work-factor", "12"); err != nil {
		return err
	}
	add := []string{
		"publish", "add", s.path("publisher"), s.payload, "--id", updateID, "--version", updateVersion,
		"--kind", "app", "--title", "A demonstration", "--release",
	}
	if s.inside != "" {
		add = append(add, "--handler", "tree", "--dest", "/opt/"+updateID)
	} else {
		add = append(add, "--handler", "file", "--dest", "/opt/"+updateID+"/"+filepath.Base(s.payload))
	}
	_, err = s.run(ctx, add...)
	return err
}

// installed is where the published bytes lie on a device.
func (s *stage) installed(d *device) string {
	if s.inside == "" {
		return filepath.Join(d.root, "opt", updateID, filepath.Base(s.payload))
	}
	return filepath.Join(d.root, "opt", updateID, s.inside)
}

func (s *stage) startOrigin(ctx context.Context) error {
	p, err := s.start(ctx, "origin", "demo", "origin", "--listen", s.originAddr, "--root", s.path("publisher", "public"),
		"--rate", fmt.Sprint(OriginRate), "--access-log", s.path("origin.log"))
	if err != nil {
		return err
	}
	return p.waitFor(ctx, "listening")
}

func (s *stage) initDepot(ctx context.Context) (err error) {
	if s.depotTLS, err = free(s.net.host(1)); err != nil {
		return err
	}
	if s.depotPlain, err = free(s.net.host(1)); err != nil {
		return err
	}
	_, err = s.run(ctx, "depot", "init", "--dir", s.path("depot"), "--host", s.net.host(1), "--listen", s.depotTLS,
		"--content-listen", s.depotPlain, "--origin", "http://"+s.originAddr, "--trust", s.path("publisher", "publisher.trust"))
	return err
}

func (s *stage) approve(ctx context.Context) error {
	_, err := s.run(ctx, "depot", "approve", "--dir", s.path("depot"), "--ring", ringName, publisherName+"/"+updateID+"@"+updateVersion)
	return err
}

func (s *stage) startDepot(ctx context.Context) error {
	p, err := s.start(ctx, "depot", "depot", "serve", "--dir", s.path("depot"), "--access-log", s.path("depot.log"))
	if err != nil {
		return err
	}
	if err := p.waitFor(ctx, "dunlin join dunlin1."); err != nil {
		return err
	}
	out, err := s.run(ctx, "depot", "token", "create", "--dir", s.path("depot"), "--ring", ringName, "--file", s.path("token"))
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	s.token = s.path("token")
	return nil
}

// join enrols the devices and makes their keys, so that each can name the others as static peers: loopback carries no
// multicast, so they could not find each other.
func (s *stage) join(ctx context.Context) error {
	for i := range s.Devices {
		name := fmt.Sprintf("device-%d", i+1)
		d := &device{name: name, addr: s.net.host(11 + i), config: s.path(name, "agent.yaml"), state: s.path(name, "state"), root: s.path(name, "root")}
		d.control = filepath.Join(d.state, "control.sock")
		d.metrics, d.page = d.addr+":9680", d.addr+":7681"
		if err := os.MkdirAll(d.root, 0o700); err != nil {
			return err
		}
		if _, err := s.run(ctx, "join", s.token, "--config", d.config, "--state-dir", d.state); err != nil {
			return err
		}
		id, err := peerID(d.state)
		if err != nil {
			return err
		}
		d.peer = fmt.Sprintf("/ip4/%s/tcp/7680/p2p/%s", d.addr, id)
		s.devices = append(s.devices, d)
	}
	return nil
}

// peerID makes the key of a device, if it has none yet, and returns the peer id that it leads to.
func peerID(state string) (string, error) {
	key, err := agent.DeviceKey(state)
	if err != nil {
		return "", err
	}
	id, err := swarm.PeerID(key)
	return string(id), err
}

func (s *stage) startAgents(ctx context.Context) error {
	s.started = time.Now()
	for i, d := range s.devices {
		args := []string{
			"agent", "run", "--config", d.config, "--listen", d.addr + ":7680", "--root", d.root, "--interval", "2s",
			"--control", d.control, "--metrics", d.metrics, "--page", d.page,
		}
		for j, o := range s.devices {
			if i != j {
				args = append(args, "--peer", o.peer)
			}
		}
		if s.node != nil {
			args = append(args, "--peer", s.node.peer)
		}
		if _, err := s.start(ctx, d.name, args...); err != nil {
			return err
		}
	}
	return nil
}

// waitInstalled asks every agent until all say that the update is installed.
func (s *stage) waitInstalled(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, installTimeout)
	defer cancel()
	for _, d := range s.devices {
		for !s.hasInstalled(ctx, d) {
			if err := s.alive(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s says %q (%s): %w", d.name, d.status.State, d.status.Reason, ctx.Err())
			case <-time.After(pollEvery):
			}
		}
	}
	s.took = time.Since(s.started)
	return nil
}

func (s *stage) hasInstalled(ctx context.Context, d *device) bool {
	out, err := s.run(ctx, "status", "--json", "--control", d.control)
	if err != nil {
		return false // it is only just starting
	}
	var st agent.Status
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return false
	}
	for _, u := range st.Updates {
		if u.ID == updateID && u.Version == updateVersion {
			d.status = u
		}
	}
	return d.status.State == agent.StateInstalled && d.status.Transfer != nil
}

// contentBytes sums what an access log says was sent of content.
func contentBytes(log string) (sum int64, err error) {
	records, err := ReadAccessLog(log)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	for _, r := range records {
		if strings.Contains(r.Path, "/content/") {
			sum += r.Bytes + r.DepotBytes
		}
	}
	return sum, err
}
