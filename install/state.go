package install

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/dunlin-project/dunlin/internal/durable"
)

// privateFile is the mode of every file of state.
const privateFile = 0o600

func writePrivate(path string, data []byte) error { return durable.WriteFile(path, data, privateFile) }

// unmarshal reads one JSON value of ours that must hold nothing unknown and nothing behind it.
func unmarshal(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is something behind the end")
	}
	return nil
}
