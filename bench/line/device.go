package line

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/e2e/lab"
)

// Device is one process on one host that fetches the content, serves it, or pretends to.
type Device struct {
	Host  *lab.Host
	Dir   string
	Out   *Watch
	Begun time.Time // when it was let go
	Done  time.Time // it has said that the file is whole, or ended well
	CPU   float64   // seconds; when it is gone
	Peak  int64     // largest resident size in bytes when it was stopped; 0 unknown

	cmd   *exec.Cmd
	line  io.WriteCloser // the start line: the client begins when a line is written here
	ended chan struct{}  // the process is gone
}

// startLine waits for a line and becomes the client. What it takes to enter the host's network is not the client's time, and
// those that are to start together do.
const startLine = `echo ready; read -r _; exec "$@"`

// Launch starts a client's process on a host, and lets it go.
func Launch(t *testing.T, h *lab.Host, dir, word string, env, argv []string) *Device {
	t.Helper()
	d := LineUp(t, h, dir, word, env, argv)
	d.LetGo(t)
	return d
}

// LineUp brings a client on a host to the start line. word is what it prints when the file is whole; without one it ends then.
func LineUp(t *testing.T, h *lab.Host, dir, word string, env, argv []string) *Device {
	t.Helper()
	d := &Device{Host: h, Dir: dir, Out: &Watch{word: []byte(word), seen: make(chan struct{})}, ended: make(chan struct{})}
	d.cmd = h.Command(t.Context(), "sh", append([]string{"-c", startLine, "sh"}, argv...)...)
	d.cmd.Env = append(os.Environ(), env...)
	d.cmd.Stdout, d.cmd.Stderr = d.Out, d.Out
	var err error
	if d.line, err = d.cmd.StdinPipe(); err == nil {
		err = d.cmd.Start()
	}
	if err != nil {
		t.Fatalf("start %s on %s: %v", argv[0], h.Name, err)
	}
	go func() {
		defer close(d.ended)
		err := d.cmd.Wait()
		if word == "" && err == nil {
			d.Out.finish()
		}
		d.CPU = (d.cmd.ProcessState.UserTime() + d.cmd.ProcessState.SystemTime()).Seconds()
	}()
	d.awaitReady(t)
	return d
}

// awaitReady returns when the client stands at the line.
func (d *Device) awaitReady(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !strings.HasPrefix(d.Out.String(), "ready\n"); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s does not come to the start line; it printed:\n%s", d.Host.Name, d.Out.String())
		}
	}
	d.Out.begin()
}

// LetGo starts the client.
func (d *Device) LetGo(t *testing.T) {
	t.Helper()
	d.Begun = time.Now()
	if _, err := io.WriteString(d.line, "\n"); err != nil {
		t.Fatalf("let %s go: %v", d.Host.Name, err)
	}
}

// Wait returns when the file is whole, or an error when it cannot become so any more.
func (d *Device) Wait(patience time.Duration) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-d.Out.seen:
	case <-d.ended:
		select {
		case <-d.Out.seen:
		default:
			return fmt.Errorf("%s: %s ended: %v; printed:\n%s", d.Host.Name, d.cmd.Args, d.cmd.ProcessState, Tail(d.Out.String()))
		}
	case <-timer.C:
		return fmt.Errorf("%s: no file within %v; printed:\n%s", d.Host.Name, patience, Tail(d.Out.String()))
	}
	d.Done = d.Out.at
	return nil
}

// Took is how long the device needed, from its own start.
func (d *Device) Took() time.Duration { return d.Done.Sub(d.Begun) }

// Stop ends the process with a signal, and waits for it.
func (d *Device) Stop(sig syscall.Signal) {
	d.Peak = max(d.Peak, PeakOf(d.cmd.Process.Pid))
	_ = d.cmd.Process.Signal(sig)
	select {
	case <-d.ended:
	case <-time.After(5 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.ended
	}
}

// PeakOf returns the largest resident size of a process so far. (What wait4 tells of it includes the program that started
// it, from before exec.)
func PeakOf(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, _ := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			return n << 10
		}
	}
	return 0
}

// CPUOf returns the seconds of a processor that a process and its children have used so far; what has ended counts as well.
func CPUOf(pid int) (seconds float64) {
	const perSecond = 100 // ticks, on every Linux that Go runs on
	for _, p := range append(children(strconv.Itoa(pid)), strconv.Itoa(pid)) {
		b, _ := os.ReadFile("/proc/" + p + "/stat")
		_, after, _ := strings.Cut(string(b), ") ") // the name may hold anything
		f := strings.Fields(after)
		if len(f) < 15 {
			continue
		}
		for _, ticks := range f[11:15] { // user, system; of children that were waited for
			n, _ := strconv.ParseInt(ticks, 10, 64)
			seconds += float64(n) / perSecond
		}
	}
	return seconds
}

// Tail is the end of what a process has printed.
func Tail(s string) string { return s[max(0, len(s)-2000):] }

// Watch keeps what a process prints, and notes when it has printed a word.
type Watch struct {
	word []byte        // empty: whoever waits for the process says when
	seen chan struct{} // closed when the word was printed
	at   time.Time     // when; set before seen is closed

	mu    sync.Mutex // guards buf, and the closing of seen
	buf   bytes.Buffer
	begun bool // what comes is the client's
}

// Write implements io.Writer.
func (w *Watch) Write(p []byte) (int, error) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	from := max(0, w.buf.Len()-len(w.word))
	w.buf.Write(p)
	if w.begun && len(w.word) > 0 && bytes.Contains(w.buf.Bytes()[from:], w.word) {
		w.finishLocked(now)
	}
	return len(p), nil
}

// begin drops what was printed so far; from now on it is the client's.
func (w *Watch) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Reset()
	w.begun = true
}

func (w *Watch) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finishLocked(time.Now())
}

func (w *Watch) finishLocked(now time.Time) {
	select {
	case <-w.seen:
	default:
		w.at = now
		close(w.seen)
	}
}

// Has reports whether a text was printed.
func (w *Watch) Has(text string) bool { return strings.Contains(w.String(), text) }

// Listening returns the address that a dunlin get has printed, and waits for it.
func (w *Watch) Listening(patience time.Duration) (string, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		for line := range strings.Lines(w.String()) {
			var e struct {
				Event string
				Addrs []string
			}
			if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &e) == nil && e.Event == "listening" && len(e.Addrs) > 0 {
				return e.Addrs[0], nil
			}
		}
	}
	return "", fmt.Errorf("it does not say where it listens; printed:\n%s", Tail(w.String()))
}

func (w *Watch) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}
