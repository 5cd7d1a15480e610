package agent

import (
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dunlin-project/dunlin/httpfallback/cachehost"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/internal/page"
	"github.com/dunlin-project/dunlin/metadata"
)

// The places of a device that was set up by its package.
const (
	DefaultConfigFile = "/etc/dunlin/agent.yaml"
	DefaultStateDir   = "/var/lib/dunlin/agent"
	DefaultControl    = "/run/dunlin/agent.sock"
	DefaultMetrics    = "127.0.0.1:9680"
	DefaultPage       = "127.0.0.1:7682"
	DefaultListen     = ":7680"
	DefaultInterval   = Duration(time.Hour)
)

// Limits of the settings.
const (
	minInterval = Duration(time.Second)
	maxInterval = Duration(30 * 24 * time.Hour)
	maxEntries  = 64  // of any list or map
	maxLabel    = 256 // bytes of a label's value
	maxLinks    = 1 << 16
	maxStreams  = 64
	minMemory   = 20 << 20 // bytes

	maxSocketPath = 107 // bytes that the kernel takes for the address of a unix socket
)

// Off turns a part off where a setting names an address or a path.
const Off = "off"

// Sharing says whether this device exchanges content with others.
type Sharing string

// The words of Config.Sharing.
const (
	SharingLAN Sharing = "lan" // with the devices of its group on the local network
	SharingOff Sharing = "off" // with nobody: no listener, not to be discovered, HTTP alone
)

// Switch is a setting that is on unless it says "off".
type Switch string

// The words of a Switch.
const (
	SwitchOn  Switch = "on"
	SwitchOff Switch = "off"
)

// Config is everything that can be set for one device, and its comments are the manual. The zero value of each setting is
// its default. In the file agent.yaml the names are those of the tags; an unknown one is refused.
type Config struct {
	// Depots are the base URLs of the organisation's depot, tried in order: https, or file for a folder on this machine.
	// Written by "dunlin join". Required.
	Depots []string `yaml:"depots"`
	// Content are base URLs where the depot has content by plain HTTP (BASE/content/<root>). They are asked after the
	// origins that the organisation has signed. Written by "dunlin join".
	Content []string `yaml:"content,omitempty"`
	// Ring is the group of devices that this one gets approvals with. Written by "dunlin join". Required.
	Ring string `yaml:"ring"`
	// Pins are SPKI pins (SHA-256, hex) of the depot's certificate authority. Empty: the key of the authority that
	// "dunlin join" has put into the state folder.
	Pins []metadata.Pin `yaml:"pins,omitempty"`
	// StateDir is the private folder of this agent. Default /var/lib/dunlin/agent.
	StateDir string `yaml:"state_dir,omitempty"`

	// Group names the devices to exchange content with. Empty: what the organisation has signed.
	Group string `yaml:"group,omitempty"`
	// Sharing is lan (the default) or off. Off excludes Listen, Peers and the limits of what other devices send and get.
	Sharing Sharing `yaml:"sharing,omitempty"`
	// Listen are the IP:PORT to serve other devices on. Default ":7680", which is every address.
	Listen []string `yaml:"listen,omitempty"`
	// Peers are multiaddrs with a peer id (/ip4/10.0.0.7/tcp/7680/p2p/12D3...) to connect to besides those discovered.
	Peers []string `yaml:"peers,omitempty"`
	// Discovery is on (the default) or off: whether to look for, and be seen by, other devices of the network by DNS-SD. With
	// sharing off nobody sees this device, and it looks for caching nodes only.
	Discovery Switch `yaml:"discovery,omitempty"`

	// CacheHosts are base URLs of LAN caching nodes (BASE/content/<root>), asked by HTTP before the origins and before the
	// nodes that CacheHostSource allows besides.
	CacheHosts []string `yaml:"cache_hosts,omitempty"`
	// CacheHostSource says which caching nodes are asked by HTTP: those of cache_hosts (static), those that announce
	// themselves on the local network (lan), those that the organisation has signed (depot), all of them in this order (auto,
	// the default), or none (off). Static needs CacheHosts, which lan, depot and off exclude. With discovery off nobody looks
	// for those of the local network. What sharing is on for comes from a node over its link, where there is one.
	CacheHostSource cachehost.Source `yaml:"cache_host_source,omitempty"`

	// CacheFallbackDelay is for how long from the beginning of a download the origin is not asked while a caching node is known
	// that may have the payload, though it does not deliver; at most 30 days. Default 0: at once. Delivery Optimization has it as
	// DODelayCacheServerFallbackBackground.
	CacheFallbackDelay Duration `yaml:"cache_fallback_delay,omitempty"`

	// Interval is the time between two cycles, 1 s to 30 days; default 1 h. The moment within the interval is the
	// device's own and stays the same, so that a fleet does not ask all at once. After a failure the next cycle comes
	// sooner, but no sooner than 30 s (or the interval, if that is less).
	Interval Duration `yaml:"interval,omitempty"`

	Limits Limits `yaml:"limits,omitempty"`

	// Labels are facts of this device that updates may be chosen by, such as site: berlin.
	Labels map[string]Label `yaml:"labels,omitempty"`
	// Handlers are the ways of installing that this device allows. Empty: all that this version has.
	Handlers []string `yaml:"handlers,omitempty"`
	// Root is put before every destination of an update, for images and for several agents on one machine. Default: none.
	// It takes the handler exec away, and with it health checks, because what runs could not be held below it.
	Root string `yaml:"root,omitempty"`

	// Metrics is the IP:PORT that Prometheus may scrape, or off. Default 127.0.0.1:9680.
	Metrics string `yaml:"metrics,omitempty"`
	// Page is the IP:PORT of the device's own page, or off. Only a loopback address; port 0 is any free one. Default
	// 127.0.0.1:7682, or any free port while another program has that one.
	Page string `yaml:"page,omitempty"`
	// Control is the path of the unix socket that "dunlin status" asks, or off. Default /run/dunlin/agent.sock.
	Control string `yaml:"control,omitempty"`
}

// Limits bound what the agent takes, over all updates together. A zero is no limit, or the default where one is named.
// Rates are in bytes per second of content as it goes over the wire; they hold within 5 % over any few seconds.
type Limits struct {
	Download Bytes `yaml:"download,omitempty"` // rate of all that is received, from wherever it comes
	Origin   Bytes `yaml:"origin,omitempty"`   // rate of what comes from HTTP origins
	LAN      Bytes `yaml:"lan,omitempty"`      // rate of what comes from other devices
	Cache    Bytes `yaml:"cache,omitempty"`    // rate of what comes from LAN caching nodes
	Upload   Bytes `yaml:"upload,omitempty"`   // rate of what is sent to other devices; 64 KiB may go at once
	// Connections is how many other devices may be connected at once, at most 65536; default 256.
	Connections int `yaml:"connections,omitempty"`
	// Streams is how many requests to origins may be under way at once, at most 64; default 8.
	Streams int `yaml:"streams,omitempty"`
	// Memory is what other devices may fill: four fifths with what they have sent and was not read, one fifth (16 MiB at
	// least, for a piece may be so long) with pieces on their way to them. Default 80 MiB, 20 MiB at least. Besides it each
	// connection has 256 KiB to begin with.
	Memory  Bytes `yaml:"memory,omitempty"`
	Store   Bytes `yaml:"store,omitempty"`   // kept content; the oldest goes first, never what is being installed
	Reserve Bytes `yaml:"reserve,omitempty"` // what must stay free on the disk; a download that would not leave it fails
}

// withDefaults fills in what is not set.
func (c Config) withDefaults() Config {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&c.StateDir, DefaultStateDir)
	set(&c.Metrics, DefaultMetrics)
	set(&c.Control, DefaultControl)
	set((*string)(&c.Sharing), string(SharingLAN))
	set((*string)(&c.Discovery), string(SwitchOn))
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if len(c.Listen) == 0 && c.Sharing == SharingLAN {
		c.Listen = []string{DefaultListen}
	}
	return c
}

// Validate refuses, with fault.Usage, what is malformed, what contradicts itself, and what would silently do less than it
// says.
func (c Config) Validate() error {
	for _, check := range []func() error{c.checkEnrolment, c.checkSharing, c.checkCaches, c.checkTimes, c.checkLabels, c.checkPlaces} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func wrong(format string, args ...any) error {
	return fault.New(fault.Usage, "check configuration: "+format, args...)
}

func (c Config) checkEnrolment() error {
	if len(c.Depots) == 0 || c.Ring == "" {
		return fault.WithHint(wrong("it names no depot or no ring: this device has not joined an organisation"),
			"on the depot run: dunlin depot token create; then here: dunlin join TOKEN")
	}
	if err := metadata.CheckRing(c.Ring); err != nil {
		return wrong("ring: %v", err)
	}
	if c.Group != "" {
		if err := metadata.CheckPublisher(c.Group); err != nil {
			return wrong("group: %.40q is not a name of letters a-z, digits and dashes", c.Group)
		}
	}
	if err := checkURLs("depots", c.Depots, "https", "file"); err != nil {
		return err
	}
	return checkURLs("content", c.Content, "http", "https")
}

func checkURLs(name string, urls []string, schemes ...string) error {
	if len(urls) > maxEntries {
		return wrong("%s: %d entries, at most %d", name, len(urls), maxEntries)
	}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil || !slices.Contains(schemes, u.Scheme) || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return wrong("%s: %.80q is not a URL that begins with %s", name, s, strings.Join(schemes, ":// or ")+"://")
		}
		if (u.Hostname() == "") != (u.Scheme == "file") {
			return wrong("%s: %.80q has no host, or a folder has one", name, s)
		}
	}
	return nil
}

func (c Config) checkSharing() error {
	switch c.Sharing {
	case "", SharingLAN:
	case SharingOff:
		if len(c.Listen) > 0 || len(c.Peers) > 0 || c.Limits.ofSharing() {
			return wrong("sharing is off, but listen, peers or a limit of sharing is set")
		}
	default:
		return wrong("sharing: %.40q is neither lan nor off", c.Sharing)
	}
	switch c.Discovery {
	case "", SwitchOn, SwitchOff:
	default:
		return wrong("discovery: %.40q is neither on nor off", c.Discovery)
	}
	if len(c.Peers) > maxEntries || len(c.Listen) > maxEntries {
		return wrong("peers, listen: more than %d entries", maxEntries)
	}
	for _, p := range c.Peers {
		if !strings.HasPrefix(p, "/") || !strings.Contains(p, "/p2p/") {
			return wrong("peers: %.80q is not a multiaddr with a peer id, such as /ip4/10.0.0.7/tcp/7680/p2p/12D3...", p)
		}
	}
	_, err := c.ListenAddrs()
	return err
}

func (c Config) checkCaches() error {
	source, err := cachehost.ParseSource(string(c.CacheHostSource))
	switch {
	case err != nil:
		return wrong("cache_host_source: %v", err)
	case len(c.CacheHosts) > 0 && !source.Has(cachehost.Static):
		return wrong("cache_hosts is set, but cache_host_source is %s", source)
	case len(c.CacheHosts) == 0 && source == cachehost.Static:
		return wrong("cache_host_source is static, but cache_hosts is empty")
	case source == cachehost.LAN && c.Discovery == SwitchOff:
		return wrong("cache_host_source is lan, but discovery is off")
	case c.CacheFallbackDelay < 0 || c.CacheFallbackDelay > maxInterval:
		return wrong("cache_fallback_delay: %v is not from 0 to %v", c.CacheFallbackDelay, maxInterval)
	case source == cachehost.Off && c.CacheFallbackDelay != 0:
		return wrong("cache_fallback_delay is set, but cache_host_source is off")
	case source == cachehost.Off && c.Sharing == SharingOff && c.Limits.Cache != 0:
		return wrong("limits.cache is set, but no caching node is asked: sharing and cache_host_source are off")
	}
	if len(c.CacheHosts) > cachehost.MaxHosts {
		return wrong("cache_hosts: %d entries, at most %d", len(c.CacheHosts), cachehost.MaxHosts)
	}
	return checkURLs("cache_hosts", c.CacheHosts, "http", "https")
}

// StateFolder returns StateDir or its default.
func (c Config) StateFolder() string { return c.withDefaults().StateDir }

// ListenAddrs returns the addresses of Listen or their default. One without an address means every address: the IPv6
// wildcard, which takes IPv4 too.
func (c Config) ListenAddrs() ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for _, s := range c.withDefaults().Listen {
		if port, ok := strings.CutPrefix(s, ":"); ok {
			s = "[::]:" + port
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return nil, wrong("listen: %.60q is not an IP:PORT", s)
		}
		out = append(out, a)
	}
	return out, nil
}

func (c Config) checkTimes() error {
	if c.Interval != 0 && (c.Interval < minInterval || c.Interval > maxInterval) {
		return wrong("interval: %v is not from %v to %v", c.Interval, minInterval, maxInterval)
	}
	return c.Limits.check()
}

func (l Limits) check() error {
	for name, b := range map[string]Bytes{
		"download": l.Download, "upload": l.Upload, "origin": l.Origin, "lan": l.LAN, "cache": l.Cache,
		"memory": l.Memory, "store": l.Store, "reserve": l.Reserve,
	} {
		if b < 0 {
			return wrong("limits.%s: %d is negative", name, int64(b))
		}
	}
	switch {
	case l.Connections < 0 || l.Connections > maxLinks:
		return wrong("limits.connections: %d is not from 1 to %d", l.Connections, maxLinks)
	case l.Streams < 0 || l.Streams > maxStreams:
		return wrong("limits.streams: %d is not from 1 to %d", l.Streams, maxStreams)
	case l.Memory > 0 && l.Memory < minMemory:
		return wrong("limits.memory: %v is less than %v", l.Memory, Bytes(minMemory))
	}
	return nil
}

// ofSharing reports whether a limit is set that means nothing when sharing is off.
func (l Limits) ofSharing() bool {
	return l.Upload != 0 || l.LAN != 0 || l.Connections != 0 || l.Memory != 0
}

func (c Config) checkLabels() error {
	if len(c.Labels) > maxEntries {
		return wrong("labels: %d entries, at most %d", len(c.Labels), maxEntries)
	}
	for name, value := range c.Labels {
		if metadata.CheckID(name) != nil {
			return wrong("labels: %.40q is not a name of lower-case letters, digits and . _ -", name)
		}
		if len(value) > maxLabel {
			return wrong("labels: the value of %s has more than %d bytes", name, maxLabel)
		}
	}
	known := []string{metadata.HandlerFile, metadata.HandlerTree, metadata.HandlerExec}
	for _, h := range c.Handlers {
		if !slices.Contains(known, h) {
			return wrong("handlers: %.40q is unknown; there are %s", h, strings.Join(known, ", "))
		}
	}
	return nil
}

func (c Config) checkPlaces() error {
	if c.StateDir != "" && !filepath.IsAbs(c.StateDir) {
		return wrong("state_dir: %.80q is not an absolute path", c.StateDir)
	}
	if c.Root != "" && !filepath.IsAbs(c.Root) {
		return wrong("root: %.80q is not an absolute path", c.Root)
	}
	if c.Root != "" && slices.Contains(c.Handlers, metadata.HandlerExec) {
		return wrong("root is %s, but handlers has exec, which could not be held below it", c.Root)
	}
	if c.Control != "" && c.Control != Off && (!filepath.IsAbs(c.Control) || len(c.Control) > maxSocketPath) {
		return wrong("control: %.120q is neither off nor an absolute path of at most %d bytes", c.Control, maxSocketPath)
	}
	if c.Metrics != "" && c.Metrics != Off {
		if _, err := netip.ParseAddrPort(c.Metrics); err != nil {
			return wrong("metrics: %.60q is neither an IP:PORT nor off", c.Metrics)
		}
	}
	if c.Page != "" && c.Page != Off {
		if err := page.CheckListen(c.Page); err != nil {
			return fault.WithHint(wrong("page: %w", err), "%s", fault.Hint(err))
		}
	}
	return nil
}
