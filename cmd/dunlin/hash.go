package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/urfave/cli/v2"

	"github.com/dunlin-project/dunlin/internal/durable"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/piecehash"
)

func hashCommand() *cli.Command {
	return &cli.Command{
		Name:      "hash",
		Usage:     "name a file by its root, and write its metainfo (.torrent) for get and other tools",
		ArgsUsage: "FILE",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the metainfo to `FILE.torrent`; default: beside the file"},
			&cli.StringSliceFlag{Name: "url", Usage: "an origin (`URL`) of the file, or of its folder if it ends in a slash; may be repeated"},
			&cli.Int64Flag{Name: "piece-length", Usage: "`BYTES` in a piece, a power of two from 16384 to 16777216; default: by the file's length"},
			&cli.BoolFlag{Name: "json", Usage: "print one JSON object"},
		},
		Action: hashAction,
	}
}

// hashed is what the command prints.
type hashed struct {
	File        string         `json:"file"`
	Torrent     string         `json:"torrent"`
	Root        piecehash.Root `json:"root"`
	SHA256      piecehash.Hash `json:"sha256"`
	Length      int64          `json:"length"`
	PieceLength int64          `json:"piece_length"`
	Pieces      int            `json:"pieces"`
}

func hashAction(c *cli.Context) error {
	if c.NArg() != 1 {
		return fault.WithHint(fault.New(fault.Usage, "hash: %d files named, want 1", c.NArg()), "dunlin hash FILE")
	}
	h := hashed{File: c.Args().First(), Torrent: c.String("output"), PieceLength: c.Int64("piece-length")}
	if h.Torrent == "" {
		h.Torrent = h.File + ".torrent"
	}
	var bar func(length int64) func(int64)
	if isTerminal(os.Stderr) && !c.Bool("json") {
		bar = hashBar
	}
	if err := h.run(c.Context, c.StringSlice("url"), bar); err != nil {
		return fmt.Errorf("hash %s: %w", h.File, err)
	}
	if c.Bool("json") {
		return printJSON(c.App.Writer, h)
	}
	_, err := fmt.Fprintf(c.App.Writer, "root    %v\nsha256  %v\nlength  %d bytes\npieces  %d of %d bytes\nwrote   %s\n",
		h.Root, h.SHA256, h.Length, h.Pieces, h.PieceLength, h.Torrent)
	return err
}

// run hashes the file and writes the metainfo. What is wrong with the arguments is said before the file is read.
func (h *hashed) run(ctx context.Context, urls []string, bar func(int64) func(int64)) error {
	f, before, err := openForHash(h.File, h.Torrent)
	if err != nil {
		return err
	}
	defer f.Close()
	meta := piecehash.Metainfo{Name: filepath.Base(h.File), URLs: urls}
	if err := meta.Check(); err != nil {
		return fault.WithHint(fault.Wrap(fault.Usage, err), "rename the file, or give full http:// or https:// URLs")
	}
	if h.PieceLength == 0 {
		h.PieceLength = piecehash.DefaultPieceLength(before.Size())
	}
	if _, err := piecehash.NewContent(piecehash.Root{}, before.Size(), h.PieceLength); err != nil {
		return fault.WithHint(fault.Wrap(fault.Usage, err), "leave --piece-length out")
	}
	var progress func(int64)
	if bar != nil {
		progress = bar(before.Size())
	}
	m, sum, err := piecehash.SumFile(ctx, f, before.Size(), h.PieceLength, progress)
	if err == nil {
		err = unchanged(f, before)
	}
	if err != nil {
		return fault.Wrap(fault.Unavailable, err)
	}
	h.Root, h.SHA256, h.Length, h.Pieces = m.Root(), sum, m.Length(), m.Pieces()
	meta.Manifest, meta.SHA256 = m, &sum
	return writeMetainfo(h.Torrent, &meta)
}

func openForHash(name, torrent string) (*os.File, fs.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, fault.WithHint(fault.Wrap(fault.Unavailable, err), "check the name and your right to read it")
	}
	switch out, err := os.Stat(torrent); {
	case !info.Mode().IsRegular():
		return nil, nil, fault.WithHint(fault.New(fault.Usage, "it is no regular file"), "pack a folder into one file (tar) first")
	case info.Size() == 0:
		return nil, nil, fault.WithHint(fault.Wrap(fault.Refused, piecehash.ErrEmpty), "name a file that has at least one byte")
	case err == nil && os.SameFile(info, out):
		return nil, nil, fault.WithHint(fault.New(fault.Usage, "the metainfo would overwrite it"), "name another file with -o")
	}
	f, err := os.Open(name)
	return f, info, fault.WithHint(fault.Wrap(fault.Unavailable, err), "check your right to read it")
}

// unchanged makes sure that the hash is of one state of the file.
func unchanged(f *os.File, before fs.FileInfo) error {
	after, err := f.Stat()
	if err != nil {
		return err
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return fault.WithHint(fault.New(fault.Unavailable, "it changed while it was read"), "wait until nobody writes to it")
	}
	return nil
}

func writeMetainfo(name string, meta *piecehash.Metainfo) error {
	b, err := meta.Encode()
	if err != nil {
		return err
	}
	err = durable.WriteFile(name, b, 0o644)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		err = fault.WithHint(err, "name a place that you can write to with -o")
	}
	return fault.Wrap(fault.Unavailable, err)
}

func hashBar(length int64) func(int64) {
	bar := progressbar.NewOptions64(length, progressbar.OptionSetWriter(os.Stderr), progressbar.OptionSetDescription("hashing"),
		progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth())
	return func(done int64) { _ = bar.Set64(done) }
}
