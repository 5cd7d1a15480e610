package metadata_test

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/dunlin-project/dunlin/metadata"
)

func TestCompressIsUndoneWithinTheWindowOfClients(t *testing.T) {
	t.Parallel()
	plain := bytes.Repeat([]byte(`{"signed":{"_type":"targets","version":12}}`), 200_000)
	packed := metadata.Compress(plain)
	if len(packed) >= len(plain)/10 {
		t.Errorf("%d bytes became %d", len(plain), len(packed))
	}
	dec, err := zstd.NewReader(bytes.NewReader(packed), zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	var out bytes.Buffer
	if _, err := dec.WriteTo(&out); err != nil || !bytes.Equal(out.Bytes(), plain) {
		t.Errorf("unpacking gave %d bytes, %v", out.Len(), err)
	}
}
