package wire

import "time"

// The protocols, as negotiated for each stream.
const (
	AuthProtocol  = "/dunlin/auth/1"
	SiteProtocol  = "/dunlin/site/1"
	PieceProtocol = "/dunlin/piece/1"
	LayerProtocol = "/dunlin/layer/1"
)

// Limits of one message. Sizes are in bytes.
const (
	// MaxMessage bounds the body of every message, payload included. With its length and the muxer's header it fits
	// into one frame of 64 KiB.
	MaxMessage = 65_520
	// MaxSlice bounds the payload of one Slice, and the part of a piece that it stands for.
	MaxSlice = 65_472
	// MaxBitmapPart bounds the bytes of one Bitmap; longer bitmaps come in parts.
	MaxBitmapPart = 32 << 10
	// MaxRuns bounds the runs of one Have.
	MaxRuns = 1024
	// MaxLinks bounds the links of one Links, and MaxPeerID the bytes of a peer id.
	MaxLinks  = 1024
	MaxPeerID = 64
	// MaxHops bounds how often a word is passed on.
	MaxHops = 8
	// MaxLayerPart bounds the bytes of one LayerPart.
	MaxLayerPart = 64_000
	// MaxPieces bounds every piece index and count: 2^20, as in package piecehash.
	MaxPieces = 1 << 20
	// MaxPieceLength bounds the length of a piece, and so every offset in it.
	MaxPieceLength = 16 << 20
	// MaxRate bounds a rate in bytes per second, and MaxDone a number of bytes: larger claims are nonsense.
	MaxRate = 1 << 40
	MaxDone = 1 << 40
	// MaxRetry bounds how long a busy peer may ask to be left alone.
	MaxRetry = time.Minute
	// maxFields bounds the fields of one message that are not known.
	maxFields = 64
)
