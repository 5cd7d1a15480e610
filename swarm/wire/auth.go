package wire

import "google.golang.org/protobuf/encoding/protowire"

// Method says how a device proves that it belongs to a group.
type Method uint32

// The methods. Only Open is spoken; Cert has its number, so that a device that does not know it can say so.
const (
	MethodOpen Method = 1 // knowledge of the group's name
	MethodCert Method = 2 // a device certificate
)

// Denial says why an authentication failed.
type Denial uint32

// The denials.
const (
	DeniedMethod Denial = 1 // the method is not supported here
	DeniedGroup  Denial = 2 // not this group, or not this key
	DeniedProof  Denial = 3 // the proof is wrong
)

// Auth is a message of AuthProtocol: a *Hello, *Challenge, *Proof, *Welcome or *Denied.
type Auth interface {
	auth() (protowire.Number, []byte)
}

// Hello opens the connection: the dialer's method, a nonce, and a tag that lets the listener find the key without
// naming the group. It is longer than any answer to it.
type Hello struct {
	Method Method
	Nonce  [32]byte
	Tag    [32]byte
}

// Challenge is the listener's nonce, and its own proof.
type Challenge struct {
	Nonce [32]byte
	Proof [32]byte
}

// Proof is the dialer's, with what it is.
type Proof struct {
	Proof [32]byte
	Role  uint8
}

// Welcome ends the authentication, with what the listener is.
type Welcome struct{ Role uint8 }

// Denied ends the connection.
type Denied struct{ Reason Denial }

func (m *Hello) auth() (protowire.Number, []byte) {
	b := appendNumber(nil, 1, m.Method)
	b = appendBytes(b, 2, m.Nonce[:])
	return 1, appendBytes(b, 3, m.Tag[:])
}

func (m *Challenge) auth() (protowire.Number, []byte) {
	b := appendBytes(nil, 1, m.Nonce[:])
	return 2, appendBytes(b, 2, m.Proof[:])
}

func (m *Proof) auth() (protowire.Number, []byte) {
	b := appendBytes(nil, 1, m.Proof[:])
	return 3, appendNumber(b, 2, m.Role)
}

func (m *Welcome) auth() (protowire.Number, []byte) { return 4, appendNumber(nil, 1, m.Role) }
func (m *Denied) auth() (protowire.Number, []byte)  { return 5, appendNumber(nil, 1, m.Reason) }

// MaxRole bounds a role; those that are not known count as a device.
const MaxRole = 255

// EncodeAuth returns the framed message.
func EncodeAuth(m Auth) []byte {
	kind, body := m.auth()
	return Frame(envelope(kind, body))
}

// DecodeAuth reads one message body. It returns nil and no error for a kind that is not known.
func DecodeAuth(b []byte) (Auth, error) {
	kind, body, err := open(b)
	if err != nil {
		return nil, err
	}
	switch kind {
	case 1:
		var m Hello
		err = message(body, map[protowire.Number]slot{1: number(&m.Method, 1<<16), 2: array(m.Nonce[:]), 3: array(m.Tag[:])})
		return &m, err
	case 2:
		var m Challenge
		err = message(body, map[protowire.Number]slot{1: array(m.Nonce[:]), 2: array(m.Proof[:])})
		return &m, err
	case 3:
		var m Proof
		err = message(body, map[protowire.Number]slot{1: array(m.Proof[:]), 2: number(&m.Role, MaxRole)})
		return &m, err
	case 4:
		var m Welcome
		err = message(body, map[protowire.Number]slot{1: number(&m.Role, MaxRole)})
		return &m, err
	case 5:
		var m Denied
		err = message(body, map[protowire.Number]slot{1: number(&m.Reason, 1<<16)})
		return &m, err
	}
	return nil, nil
}
