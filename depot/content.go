package depot

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dunlin-project/dunlin/fetch"
	"github.com/dunlin-project/dunlin/httpfallback"
	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
	"github.com/dunlin-project/dunlin/piecehash"
	"github.com/dunlin-project/dunlin/store"
)

// Obtained says what it took to have the content of an update.
type Obtained struct {
	Root    piecehash.Root `json:"root"`
	Bytes   int64          `json:"bytes"`           // length of the content
	Fetched int64          `json:"fetched"`         // payload bytes that came from the publisher this time
	Resumed int64          `json:"resumed"`         // bytes that an earlier run had left, or that were there already
	From    string         `json:"from,omitempty"`  // "folder" or "http"; empty when all of it was there
	Waste   int64          `json:"waste,omitempty"` // of what was fetched
}

// keepFree is what approving leaves free on the disk, in bytes: metadata must still be written.
const keepFree = 64 << 20

// obtain gets the content of an update into the public folder. Every piece is checked against the signed root before it
// counts, and the whole file against the signed SHA-256 before devices can see it. What an earlier run has left is kept.
// The caller holds the work lock.
func (d *Depot) obtain(ctx context.Context, p *metadata.Publisher, t *metadata.Target, now time.Time, tell func(Progress)) (*Obtained, error) {
	content, err := t.Content()
	if err != nil {
		return nil, fault.New(fault.Refused, "approve %s: %w", t.Path, err)
	}
	s := &supply{depot: d, publisher: p, target: t, content: content, now: now, tell: tell}
	defer s.close()
	if err := s.prove(ctx); err != nil {
		return nil, fmt.Errorf("get content of %s: %w", t.Path, err)
	}
	out, err := s.obtain(ctx)
	if err != nil {
		return nil, fmt.Errorf("get content of %s: %w", t.Path, err)
	}
	return out, nil
}

// supply gets one content. It is used once.
type supply struct {
	depot     *Depot
	publisher *metadata.Publisher
	target    *metadata.Target
	content   piecehash.Content
	now       time.Time
	tell      func(Progress)

	gate     *httpfallback.Gate // made when it is needed
	manifest *piecehash.Manifest
}

func (s *supply) close() {
	if s.gate != nil {
		_ = s.gate.Close()
	}
}

func (s *supply) incoming() string { return s.depot.at.incoming(s.content.Root().String()) }
func (s *supply) public() string   { return s.depot.at.public(contentDir, s.content.Root().String()) }
func (s *supply) layer() string    { return s.depot.at.public(layerDir, s.content.Root().String()) }

// prove gets the piece layer: the one in the public folder if it is good, else the publisher's.
func (s *supply) prove(ctx context.Context) (err error) {
	if b, err := readBounded(s.layer(), s.content.LayerSize()); err == nil || s.content.LayerSize() == 0 {
		if s.manifest, err = s.content.Prove(b); err == nil {
			return nil
		}
	}
	trust, err := s.depot.trustOf(s.publisher)
	if err != nil {
		return err
	}
	m, err := metadata.NewMirror(metadata.MirrorConfig{Dir: s.depot.at.mirror(trust.Publisher), Trust: trust, Log: s.depot.log})
	if err != nil {
		return err
	}
	s.manifest, err = m.Layer(ctx, s.content, s.now)
	if err == nil || fault.Is(err, fault.Untrusted) || ctx.Err() != nil {
		return err
	}
	gate, bases, gateErr := s.web()
	if gateErr != nil || len(bases) == 0 {
		return err
	}
	s.manifest, err = httpfallback.FetchLayer(ctx, gate, bases, s.content)
	return err
}

func (s *supply) obtain(ctx context.Context) (*Obtained, error) {
	out := &Obtained{Root: s.content.Root(), Bytes: s.content.Length()}
	here, err := s.lookAtPublic(ctx)
	if err != nil {
		return nil, err
	}
	if here {
		out.Resumed = out.Bytes
		return out, s.publishLayer()
	}
	part, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer part.Close()
	out.Resumed = stored(part)
	if err := s.complete(ctx, part, out); err != nil {
		return nil, err
	}
	return out, nil
}

// complete fills and seals. What an earlier run had left is hashed only on the way; what turns out damaged then is fetched
// again, once: a disk that damages it a second time is broken.
func (s *supply) complete(ctx context.Context, part *store.Partial, out *Obtained) (err error) {
	for range 2 {
		if !part.Bitmap().Full() {
			if err = s.fill(ctx, part, out); err != nil {
				return err
			}
		}
		if err = s.seal(ctx, part); !errors.Is(err, store.ErrDropped) && !errors.Is(err, store.ErrIncomplete) {
			return err
		}
	}
	return fault.WithHint(fault.New(fault.Unavailable, "check what was stored: %w", err), "check the disk: it does not keep what is written to it")
}

func stored(part *store.Partial) (n int64) {
	have, m := part.Bitmap(), part.Manifest()
	for i := range m.Pieces() {
		if have.Has(i) {
			n += m.PieceSize(i)
		}
	}
	return n
}

// lookAtPublic reports whether devices can have the content already. A file that has rotted is taken from them at once;
// what is still right in it is used again.
func (s *supply) lookAtPublic(ctx context.Context) (bool, error) {
	f, err := store.OpenAt(ctx, s.public(), s.manifest, s.progress("check what is here"))
	var bad *piecehash.Mismatch
	switch {
	case err == nil:
		sum, _ := f.SHA256()
		return true, errors.Join(s.checkSum(sum), f.Close())
	case errors.As(err, &bad):
		s.depot.log.WarnContext(ctx, "content is damaged and is fetched again", slog.String("file", s.public()), slog.Any("err", err))
		return false, durable.Rename(s.public(), s.incoming())
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	default:
		return false, err
	}
}

// checkSum holds the whole file against the catalogue. Root and SHA-256 are both signed, so this fails only when the
// publisher has signed two different files as one.
func (s *supply) checkSum(sum piecehash.Hash) error {
	if sum == s.target.SHA256 {
		return nil
	}
	return fault.WithHint(fault.New(fault.Untrusted, "check SHA-256: the catalogue promises %v, but the content under its root has %v", s.target.SHA256, sum),
		"the publisher has signed an entry that contradicts itself; ask for a new release")
}

// begin opens the partial file. One that is whole but was not moved yet counts as a partial whose pieces are looked at.
func (s *supply) begin(ctx context.Context) (*store.Partial, error) {
	o := store.Options{Reserve: keepFree, WholeHash: true, Log: s.depot.log}
	if _, err := os.Lstat(s.incoming()); err == nil {
		return store.RepairAt(ctx, s.incoming(), s.manifest, o)
	}
	return store.BeginAt(ctx, s.incoming(), s.manifest, o)
}

// fill gets the missing pieces: from a folder of the publisher's on this machine if there is one, else by HTTP.
func (s *supply) fill(ctx context.Context, part *store.Partial, out *Obtained) error {
	path, err := s.folderFile()
	if err != nil {
		return err
	}
	if path != "" {
		out.From = "folder"
		n, err := s.copyFolder(ctx, path, part)
		out.Fetched += n
		return err
	}
	gate, bases, err := s.web()
	if err != nil {
		return err
	}
	urls := make([]string, len(bases))
	for i, b := range bases {
		urls[i] = httpfallback.ContentURL(b, s.content.Root())
	}
	var hints []string
	for _, b := range s.target.Update.Origins {
		hints = append(hints, httpfallback.ContentURL(b, s.content.Root()))
	}
	origin, err := httpfallback.NewOrigin(httpfallback.OriginConfig{Gate: gate, Content: s.content, URLs: urls, Hints: hints})
	if err != nil {
		return fault.WithHint(err, "%s names no origin that could be asked; its trust file should", s.publisher.Name)
	}
	defer origin.Close()
	tell := s.progress("fetch content")
	stats, err := fetch.File(ctx, part, fetch.Options{Origin: origin, Warm: true, Log: s.depot.log, Progress: func(st fetch.Stats) { tell(st.Resumed + st.Useful()) }})
	out.From, out.Fetched, out.Waste = "http", out.Fetched+stats.From.Total(), out.Waste+stats.Waste
	return err
}

// folderFile returns where a publisher that is a folder on this machine has the content, or "".
func (s *supply) folderFile() (string, error) {
	for _, base := range s.publisher.Catalogues {
		u, err := url.Parse(base)
		if err != nil || u.Scheme != "file" {
			continue
		}
		path := filepath.Join(filepath.FromSlash(u.Path), contentDir, s.content.Root().String())
		if _, err := os.Lstat(path); err == nil {
			return path, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return "", fault.New(fault.Unavailable, "look into the publisher's folder: %w", err)
		}
	}
	return "", nil
}

// copyFolder reads the missing pieces from a file. A piece that is not what the root promises ends it.
func (s *supply) copyFolder(ctx context.Context, path string, part *store.Partial) (copied int64, err error) {
	f, err := openRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	tell := s.progress("copy content")
	have, m := part.Bitmap(), part.Manifest()
	buf := make([]byte, m.PieceLength())
	for i := range m.Pieces() {
		if have.Has(i) {
			continue
		}
		if ctx.Err() != nil {
			return copied, ctx.Err()
		}
		n, err := f.ReadAt(buf[:m.PieceSize(i)], m.Offset(i))
		copied += int64(n)
		if err != nil && !errors.Is(err, io.EOF) {
			return copied, fault.New(fault.Unavailable, "read the publisher's folder: %w", err)
		}
		if _, err := part.Put(i, buf[:n]); err != nil {
			return copied, putError(path, err)
		}
		tell(m.Offset(i) + int64(n))
	}
	return copied, nil
}

// openRegular opens a file of a folder that is somebody else's: not through a link, and without waiting for whoever might
// write into a pipe.
func openRegular(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil && !errors.Is(err, syscall.ELOOP) {
		return nil, fault.New(fault.Unavailable, "read the publisher's folder: %w", err)
	}
	regular := false
	if err == nil {
		info, statErr := f.Stat()
		regular = statErr == nil && info.Mode().IsRegular()
	}
	if !regular {
		if f != nil {
			f.Close()
		}
		return nil, fault.WithHint(fault.New(fault.Refused, "read the publisher's folder: %s is not a regular file", path), "have it released again")
	}
	return f, nil
}

func putError(path string, err error) error {
	var bad *piecehash.Mismatch
	if errors.As(err, &bad) {
		return fault.WithHint(fault.New(fault.Untrusted, "read %s: %w", path, err), "the file is not what the publisher signed; have it released again")
	}
	return err
}

// web gives the gate to the publisher's servers and the base URLs that the organisation has signed for it. The
// publisher's own authority is accepted beside the usual ones: TLS proves nothing about content, the root does.
func (s *supply) web() (*httpfallback.Gate, []string, error) {
	bases := append([]string{}, s.publisher.Origins...)
	for _, b := range s.publisher.Catalogues {
		if strings.HasPrefix(b, "https://") {
			bases = append(bases, b)
		}
	}
	if s.gate != nil {
		return s.gate, bases, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if s.publisher.CA != "" && !roots.AppendCertsFromPEM([]byte(s.publisher.CA)) {
		return nil, nil, fault.New(fault.Refused, "read the certificate authority of %s: it is none", s.publisher.Name)
	}
	s.gate = httpfallback.NewGate(httpfallback.GateConfig{
		UserAgent: "dunlin-depot", TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Log: s.depot.log,
	})
	return s.gate, bases, nil
}

// seal puts the whole file where devices read it: the layer first, because nobody can begin without it.
func (s *supply) seal(ctx context.Context, part *store.Partial) error {
	f, err := part.Seal(ctx)
	if err != nil {
		return err
	}
	defer f.Close()
	sum, ok := f.SHA256()
	if !ok {
		return errors.New("the SHA-256 of the file was not computed")
	}
	if err := s.checkSum(sum); err != nil {
		return errors.Join(err, durable.Remove(s.incoming()))
	}
	if err := s.publishLayer(); err != nil {
		return err
	}
	if err := os.Chmod(s.incoming(), publicFile); err != nil {
		return fmt.Errorf("publish content: %w", err)
	}
	return fault.Wrap(fault.Unavailable, durable.Rename(s.incoming(), s.public()))
}

func (s *supply) publishLayer() error {
	if s.content.LayerSize() == 0 {
		return nil
	}
	_, err := publish(s.layer(), s.manifest.Layer())
	return err
}

func (s *supply) progress(step string) func(done int64) {
	return func(done int64) {
		s.tell(Progress{Step: step, Done: done, Total: s.content.Length()})
	}
}
