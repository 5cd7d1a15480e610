package readme

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/agent"
	"github.com/dunlin-project/dunlin/e2e/lab"
)

const serverName = "updates.example"

// block returns the commands of the block that the README marks with a name.
func block(t *testing.T, page, name string) []string {
	t.Helper()
	re := regexp.MustCompile("(?s)<!-- " + name + " -->\n```sh\n(.*?)```")
	m := re.FindStringSubmatch(page)
	if m == nil {
		t.Fatalf("the README has no block %q", name)
	}
	return strings.Split(strings.TrimSpace(m[1]), "\n")
}

// TestFiveMinutes goes from nothing to an installed update with the commands of the README, then adds a second device,
// which finds the first by discovery alone and draws nothing from the origin.
func TestFiveMinutes(t *testing.T) {
	lab.Need(t, "ip", "nsenter")
	readme, err := os.ReadFile(filepath.Join(lab.Dir(t), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	server, device := block(t, string(readme), "server"), block(t, string(readme), "device")
	if n := len(server) + len(device); n > 7 {
		t.Errorf("%d commands to a first installed update, want at most 7", n)
	}
	bin := lab.Binary(t)
	var maker lab.Maker
	net := maker.New(t)
	hosts := make([]*lab.Host, 3)
	for i := range hosts {
		hosts[i] = net.Host(lab.Options{})
		hosts[i].OwnFiles(t, map[string]string{"/usr/local/bin/dunlin": bin})
	}
	for _, h := range hosts {
		h.Knows(t, serverName, hosts[0].Addr)
	}
	env := prepare(t, hosts[0])

	for _, line := range server[:len(server)-1] {
		must(t, hosts[0], env, line)
	}
	serving := hosts[0].Start(t, env, "bash", "-c", "cd /root && exec "+server[len(server)-1])
	token := regexp.MustCompile(`dunlin1\.\S+`).FindString(serving.Wait(t, "dunlin join dunlin1.", 20*time.Second))

	for i, h := range hosts[1:] {
		for _, line := range device[:len(device)-1] {
			must(t, h, nil, strings.ReplaceAll(line, "dunlin1.PASTE-THE-TOKEN", token))
		}
		h.Start(t, nil, "bash", "-c", "exec "+device[len(device)-1])
		u := waitInstalled(t, h, "hello")
		if got := must(t, h, nil, "cat /opt/hello/greeting"); got != "hello, fleet\n" {
			t.Errorf("%s has %q", h.Name, got)
		}
		if i > 0 && (u.Transfer.From.Origin != 0 || u.Transfer.From.Peers != u.Transfer.Content) {
			t.Errorf("the second device drew %+v of %d bytes", u.Transfer.From, u.Transfer.Content)
		}
	}
	for _, line := range block(t, string(readme), "look") {
		if out := must(t, hosts[1], nil, line); !strings.Contains(out, "hello") || !strings.Contains(out, "installed") {
			t.Errorf("%s printed:\n%s", line, out)
		}
	}
}

// prepare makes what the README takes for granted: an archive, and somebody who types a passphrase.
func prepare(t *testing.T, h *lab.Host) (env []string) {
	t.Helper()
	must(t, h, nil, "umask 077; echo 'correct horse battery staple' > /root/passphrase")
	must(t, h, nil, "mkdir /root/h && cd /root/h && echo 'hello, fleet' > greeting && head -c 3000000 /dev/urandom > data && tar czf /root/hello.tar.gz .")
	return []string{"DUNLIN_PASSPHRASE_FILE=/root/passphrase"}
}

func must(t *testing.T, h *lab.Host, env []string, line string) string {
	t.Helper()
	out, err := h.Run(t.Context(), env, "bash", "-c", "cd /root && "+line)
	if err != nil {
		t.Fatalf("on %s: %s\n%v\n%s", h.Name, line, err, out)
	}
	return out
}

func waitInstalled(t *testing.T, h *lab.Host, id string) agent.Update {
	t.Helper()
	last := ""
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		out, err := h.Run(t.Context(), nil, "dunlin", "status", "--json")
		last = out
		var s agent.Status
		if err != nil || json.Unmarshal([]byte(out), &s) != nil {
			continue
		}
		for _, u := range s.Updates {
			if u.ID == id && u.State == agent.StateInstalled && u.Transfer != nil {
				return u
			}
		}
	}
	t.Fatalf("%s has not installed %s; it says:\n%s", h.Name, id, last)
	return agent.Update{}
}
