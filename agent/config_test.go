package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

const full = `depots: [https://depot.example:7681]
content: ["http://depot.example:7682"]
ring: pilot
pins: [0001020304050607080910111213141516171819202122232425262728293031]
state_dir: /srv/dunlin
group: berlin
sharing: lan
listen: [":7680", "10.0.0.1:7681"]
peers: [/ip4/10.0.0.7/tcp/7680/p2p/12D3KooW]
discovery: off
cache_hosts: ["http://cache.example:7681"]
cache_host_source: static
cache_fallback_delay: 1m30s
interval: 1h30m
limits:
  download: 10MiB
  upload: 500KB
  origin: 1000000
  lan: 50MB
  cache: 20MB
  connections: 64
  streams: 4
  memory: 40MiB
  store: 20GiB
  reserve: 1GiB
labels:
  site: berlin
  version: 1.50
  floor: 3
  lab: on
handlers: [file, tree]
root: /srv/root
metrics: off
page: "[::1]:0"
control: off
`

func TestReadConfig(t *testing.T) {
	t.Parallel()
	got := mustParse(t, full)
	want := Config{
		Depots: []string{"https://depot.example:7681"}, Content: []string{"http://depot.example:7682"}, Ring: "pilot",
		Pins:     []metadata.Pin{{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x19, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28, 0x29, 0x30, 0x31}},
		StateDir: "/srv/dunlin", Group: "berlin", Sharing: SharingLAN, Listen: []string{":7680", "10.0.0.1:7681"},
		Peers: []string{"/ip4/10.0.0.7/tcp/7680/p2p/12D3KooW"}, Discovery: SwitchOff,
		CacheHosts: []string{"http://cache.example:7681"}, CacheHostSource: cachehost.Static, CacheFallbackDelay: Duration(90 * time.Second), Interval: Duration(90 * time.Minute),
		Limits:   Limits{Download: 10 << 20, Upload: 500_000, Origin: 1_000_000, LAN: 50_000_000, Cache: 20_000_000, Connections: 64, Streams: 4, Memory: 40 << 20, Store: 20 << 30, Reserve: 1 << 30},
		Labels:   map[string]Label{"site": "berlin", "version": "1.50", "floor": "3", "lab": "on"},
		Handlers: []string{"file", "tree"}, Root: "/srv/root", Metrics: Off, Page: "[::1]:0", Control: Off,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

// TestEveryKeyIsInTheExample keeps the example above complete.
func TestEveryKeyIsInTheExample(t *testing.T) {
	t.Parallel()
	for _, v := range []any{Config{}, Limits{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("yaml"), ",")
			if name == "" || !strings.Contains(full, name+":") {
				t.Errorf("field %s has no key in the example", reflect.TypeOf(v).Field(i).Name)
			}
		}
	}
}

// TestTheExampleForPeople has every key, and is right once its comments are taken away.
func TestTheExampleForPeople(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join("..", "deploy", "agent.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if c := mustParse(t, string(b)); !reflect.DeepEqual(c, Config{}) {
		t.Errorf("as it is, it sets something: %+v", c)
	}
	var plain strings.Builder
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "#"); ok && !strings.HasPrefix(line, "# ") {
			line = rest
		}
		plain.WriteString(line)
	}
	c := mustParse(t, plain.String())
	c.Root = "" // excludes the handler exec
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
	for _, v := range []any{Config{}, Limits{}} {
		for i := range reflect.TypeOf(v).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(v).Field(i).Tag.Get("yaml"), ",")
			if !strings.Contains(string(b), "#"+name+":") && !strings.Contains(string(b), "#  "+name+":") {
				t.Errorf("it does not have %s", name)
			}
		}
	}
	d := (Config{}).withDefaults()
	for _, s := range []string{d.StateDir, d.Listen[0], d.Metrics, d.Control, string(d.Discovery), string(d.Sharing), d.Interval.String()} {
		if !strings.Contains(string(b), s) {
			t.Errorf("it does not say the default %s", s)
		}
	}
}

func TestConfigIsEncodedAsItIsRead(t *testing.T) {
	t.Parallel()
	want := mustParse(t, full)
	text, err := want.encode()
	if err != nil {
		t.Fatal(err)
	}
	if got := mustParse(t, string(text)); !reflect.DeepEqual(got, want) {
		t.Errorf("%s\ngot  %+v\nwant %+v", text, got, want)
	}
}

func TestReadConfigRefuses(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"ring: a\nrnig: b\n":                      `2:1: unknown field "rnig"`,
		"limits:\n  dwnload: 1\n":                 `2:3: unknown field "dwnload"`,
		"ring: a\nring: b\n":                      `2:1: mapping key "ring" already defined`,
		"interval: 5\n":                           `1:11: "5" is no duration`,
		"interval: -5s\n":                         `1:11: "-5s" is no duration`,
		"limits: {store: 10 potatoes}\n":          `1:17: "10 potatoes" is no size`,
		"limits: {store: 9999999999GiB}\n":        `1:17: "9999999999GiB" is no size`,
		"limits: {store: [1]}\n":                  `1:17: "[1]" is no size`,
		"depots: https://one.example\n":           `1:9: string was used where sequence is expected`,
		"labels: {site: [a]}\n":                   `1:16: a label's value is one text`,
		"- a\n":                                   `1:1: sequence was used where mapping is expected`,
		"ring: [\n":                               `1:7: sequence end token ']' not found`,
		"---\nring: a\n---\nring: b\n":            `1:1: there is more than one document`,
		"pins: [00]\n":                            `hash`,
		"ring: *nothing\n":                        `could not find alias "nothing"`,
		strings.Repeat("# padding\n", 30_000):     `more than`,
		"labels: {a: b}\nlabels: {c: d}\n":        `already defined`,
		"ring: a\n  depots: [b]\n":                `mapping value is not allowed`,
		"limits: 10MiB\n":                         `1:9:`,
		"listen: [7680]\nsharing: off\nfoo: {}\n": `3:1: unknown field "foo"`,
	} {
		path := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadConfig(path)
		if err == nil || !strings.Contains(err.Error(), want) || !fault.Is(err, fault.Usage) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
}

func TestReadConfigOfNothing(t *testing.T) {
	t.Parallel()
	if _, err := ReadConfig(filepath.Join(t.TempDir(), "none")); !fault.Is(err, fault.Usage) || !strings.Contains(fault.Hint(err), "dunlin join") {
		t.Errorf("%v, hint %q", err, fault.Hint(err))
	}
	for _, text := range []string{"", "# only a comment\n"} {
		if got := mustParse(t, text); !reflect.DeepEqual(got, Config{}) {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"not joined":          {func(c *Config) { c.Depots = nil }, "has not joined"},
		"no ring":             {func(c *Config) { c.Ring = "" }, "has not joined"},
		"ring":                {func(c *Config) { c.Ring = "a/b" }, "ring"},
		"group":               {func(c *Config) { c.Group = "a b" }, "group"},
		"plain depot":         {func(c *Config) { c.Depots = []string{"http://depot"} }, "https:// or file://"},
		"depot with password": {func(c *Config) { c.Depots = []string{"https://a:b@depot"} }, "depots"},
		"depot without host":  {func(c *Config) { c.Depots = []string{"https:///x"} }, "host"},
		"folder with host":    {func(c *Config) { c.Depots = []string{"file://srv/x"} }, "host"},
		"content":             {func(c *Config) { c.Content = []string{"ftp://x"} }, "content"},
		"sharing":             {func(c *Config) { c.Sharing = "yes" }, "neither lan nor off"},
		"off and listening":   {func(c *Config) { c.Sharing, c.Listen = SharingOff, []string{":1"} }, "sharing is off"},
		"off and peers":       {func(c *Config) { c.Sharing, c.Peers = SharingOff, []string{"/ip4/1.2.3.4/p2p/x"} }, "sharing is off"},
		"off and uploading":   {func(c *Config) { c.Sharing, c.Limits.Upload = SharingOff, 1 }, "sharing is off"},
		"discovery":           {func(c *Config) { c.Discovery = "maybe" }, "neither on nor off"},
		"listen":              {func(c *Config) { c.Listen = []string{"host:80"} }, "listen"},
		"listen, no port":     {func(c *Config) { c.Listen = []string{":x"} }, "listen"},
		"peer":                {func(c *Config) { c.Peers = []string{"10.0.0.7:7680"} }, "multiaddr"},
		"too often":           {func(c *Config) { c.Interval = 1 }, "interval"},
		"too seldom":          {func(c *Config) { c.Interval = maxInterval + 1 }, "interval"},
		"negative limit":      {func(c *Config) { c.Limits.Origin = -1 }, "limits.origin"},
		"no connections":      {func(c *Config) { c.Limits.Connections = -1 }, "limits.connections"},
		"too many streams":    {func(c *Config) { c.Limits.Streams = 65 }, "limits.streams"},
		"too little memory":   {func(c *Config) { c.Limits.Memory = 1 << 20 }, "limits.memory"},
		"a limit of nothing":  {func(c *Config) { c.Sharing, c.Listen, c.Limits.LAN = SharingOff, nil, 5 }, "a limit of sharing"},
		"cache source":        {func(c *Config) { c.CacheHostSource = "dhcp" }, "cache_host_source"},
		"cache host":          {func(c *Config) { c.CacheHosts = []string{"cache:7681"} }, "cache_hosts"},
		"caches, but not":     {func(c *Config) { c.CacheHosts, c.CacheHostSource = []string{"http://cache"}, "lan" }, "cache_host_source is lan"},
		"no caches":           {func(c *Config) { c.CacheHostSource = "static" }, "cache_hosts is empty"},
		"nobody looks":        {func(c *Config) { c.CacheHostSource, c.Discovery = "lan", SwitchOff }, "discovery is off"},
		"endless waiting":     {func(c *Config) { c.CacheFallbackDelay = maxInterval + 1 }, "cache_fallback_delay"},
		"waiting for nobody":  {func(c *Config) { c.CacheFallbackDelay, c.CacheHostSource = 5, "off" }, "cache_host_source is off"},
		"too many caches":     {func(c *Config) { c.CacheHosts = make([]string, 33) }, "cache_hosts"},
		"a limit of no cache": {func(c *Config) { c.Sharing, c.CacheHostSource, c.Limits.Cache = SharingOff, "off", 5 }, "limits.cache"},
		"label":               {func(c *Config) { c.Labels = map[string]Label{"A b": ""} }, "labels"},
		"long label":          {func(c *Config) { c.Labels = map[string]Label{"a": Label(strings.Repeat("x", 257))} }, "labels"},
		"handler":             {func(c *Config) { c.Handlers = []string{"dance"} }, "there are file"},
		"state":               {func(c *Config) { c.StateDir = "here" }, "state_dir"},
		"root":                {func(c *Config) { c.Root = "here" }, "root"},
		"root and exec":       {func(c *Config) { c.Root, c.Handlers = "/mnt", []string{"exec"} }, "held below"},
		"control":             {func(c *Config) { c.Control = "sock" }, "control"},
		"long control":        {func(c *Config) { c.Control = "/" + strings.Repeat("x", 108) }, "control"},
		"metrics":             {func(c *Config) { c.Metrics = "localhost:1" }, "metrics"},
		"page":                {func(c *Config) { c.Page = "localhost:1" }, "page"},
		"page for others":     {func(c *Config) { c.Page = "0.0.0.0:7682" }, "not a loopback address"},
		"too many depots":     {func(c *Config) { c.Depots = make([]string, 65) }, "depots"},
		"too many labels": {func(c *Config) {
			c.Labels = make(map[string]Label)
			for i := range 65 {
				c.Labels[strings.Repeat("a", i+1)] = ""
			}
		}, "labels"},
	} {
		cfg := Config{Depots: []string{"file:///srv/depot"}, Ring: "pilot"}
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c.change(&cfg)
		if err := cfg.Validate(); !fault.Is(err, fault.Usage) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err := cfg.withDefaults().Validate(); err == nil {
			t.Errorf("%s: the defaults hide it", name)
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	for _, c := range []Config{{}, {Sharing: SharingOff}} {
		c.Depots, c.Ring = []string{"https://depot"}, "pilot"
		c = c.withDefaults()
		if err := c.Validate(); err != nil {
			t.Error(err)
		}
		if c.Interval != DefaultInterval || c.StateDir != DefaultStateDir || (len(c.Listen) == 0) != (c.Sharing == SharingOff) {
			t.Errorf("%+v", c)
		}
	}
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Bytes{"0": 0, "12": 12, "12B": 12, "3KB": 3000, "3 KiB": 3072, "2MiB": 2 << 20, "8TiB": 8 << 40, "1TB": 1e12} {
		got, err := ParseBytes(text)
		if err != nil || got != want {
			t.Errorf("%s: %d %v", text, got, err)
		}
		if again, err := ParseBytes(got.String()); err != nil || again != want {
			t.Errorf("%s is printed as %s", text, got)
		}
	}
	for _, text := range []string{"", "-1", "1.5MiB", "MiB", "1e9", "9223372036854775808", "8388608TiB", "1 2", "+1", "1Mib"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"90s": "1m30s", "5m": "5m", "1h": "1h", "1h5m": "1h5m", "24h": "24h", "0s": "0s", "10s": "10s"} {
		got, err := ParseDuration(text)
		if err != nil || got.String() != want {
			t.Errorf("%s: %v %v", text, got, err)
		}
	}
}

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := parseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// FuzzParseConfig: whatever stands in the file, the answer is one line with a position, or a Config that survives being
// written and read again if it is valid.
func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("ring: &a b\ngroup: *a\n"))
	f.Add([]byte("limits: {<<: {store: 1}}\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4<<10 {
			return
		}
		c, err := parseConfig(b)
		if err != nil || c.Validate() != nil {
			return
		}
		if _, err := c.encode(); err != nil {
			t.Error(err)
		}
	})
}
