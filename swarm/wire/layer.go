package wire

import "google.golang.org/protobuf/encoding/protowire"

// Layer is a message of LayerProtocol: a *LayerAsk, then *LayerPart or *LayerAbsent as answer.
type Layer interface {
	layer() (protowire.Number, []byte)
}

// LayerAsk asks for the piece layer of content.
type LayerAsk struct {
	Swarm       SwarmID
	Epoch       uint64
	PieceLength int
	Pieces      int
}

// LayerPart is a part of the encoded layer; parts come in order and without gaps.
type LayerPart struct{ Data []byte }

// LayerAbsent answers that the layer is not there to be had.
type LayerAbsent struct{}

func (m *LayerAsk) layer() (protowire.Number, []byte) {
	b := appendBytes(nil, 1, m.Swarm[:])
	b = appendNumber(b, 2, m.Epoch)
	b = appendNumber(b, 3, m.PieceLength)
	return 1, appendNumber(b, 4, m.Pieces)
}
func (m *LayerPart) layer() (protowire.Number, []byte)   { return 2, appendBytes(nil, 1, m.Data) }
func (m *LayerAbsent) layer() (protowire.Number, []byte) { return 3, nil }

// EncodeLayer returns the framed message.
func EncodeLayer(m Layer) []byte {
	kind, body := m.layer()
	return Frame(envelope(kind, body))
}

// DecodeLayer reads one message body; a LayerPart's Data aliases b. It returns nil and no error for a kind that is not
// known.
func DecodeLayer(b []byte) (Layer, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1:
		var m LayerAsk
		err = message(body, map[protowire.Number]slot{
			1: array(m.Swarm[:]), 2: number(&m.Epoch, 1<<63-1), 3: number(&m.PieceLength, MaxPieceLength), 4: count(&m.Pieces),
		})
		return &m, err
	case 2:
		var m LayerPart
		err = message(body, map[protowire.Number]slot{1: blob(&m.Data, MaxLayerPart)})
		if err == nil && len(m.Data) == 0 {
			err = malformed("an empty part of a layer")
		}
		return &m, err
	case 3:
		return &LayerAbsent{}, message(body, nil)
	}
	return nil, nil
}
