package depot

import (
	"context"
	"time"

	"github.com/dunlin-project/dunlin/internal/fault"
)

// Request is one administrative operation: exactly one field is set. It is the same for a command that works on the
// folder itself (Depot.Do) and for one that asks a running server (Ask).
type Request struct {
	Sync       *SyncRequest       `json:"sync,omitempty"`
	Approve    *ApproveRequest    `json:"approve,omitempty"`
	Unapprove  *UnapproveRequest  `json:"unapprove,omitempty"`
	List       *ListRequest       `json:"list,omitempty"`
	Publishers *PublishersRequest `json:"publishers,omitempty"`
	Token      *TokenRequest      `json:"token,omitempty"`
}

// PublishersRequest asks whom the organisation trusts.
type PublishersRequest struct{}

// Response is what came of a Request: the field of the same name is set.
type Response struct {
	Sync       *SyncResult       `json:"sync,omitempty"`
	Approve    *ApproveResult    `json:"approve,omitempty"`
	Unapprove  *UnapproveResult  `json:"unapprove,omitempty"`
	List       *ListResult       `json:"list,omitempty"`
	Publishers []PublisherStatus `json:"publishers,omitempty"`
	Token      *TokenResult      `json:"token,omitempty"`
}

// maxRequest bounds a request on the socket, in bytes.
const maxRequest = 64 << 10

// parseRequest reads a request strictly.
func parseRequest(b []byte) (*Request, error) {
	if len(b) > maxRequest {
		return nil, fault.New(fault.Usage, "read request: more than %d bytes", maxRequest)
	}
	r := new(Request)
	if err := decodeStrict(b, r); err != nil {
		return nil, fault.New(fault.Usage, "read request: %w", err)
	}
	set := 0
	for _, is := range []bool{r.Sync != nil, r.Approve != nil, r.Unapprove != nil, r.List != nil, r.Publishers != nil, r.Token != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		return nil, fault.New(fault.Usage, "read request: it names %d operations, want one", set)
	}
	return r, nil
}

// Do carries a request out. tell, which may be nil, hears how far it is.
func (d *Depot) Do(ctx context.Context, r *Request, now time.Time, tell func(Progress)) (*Response, error) {
	if tell == nil {
		tell = func(Progress) {}
	}
	var out Response
	var err error
	switch {
	case r.Sync != nil:
		out.Sync, err = d.Sync(ctx, *r.Sync, now, tell)
	case r.Approve != nil:
		out.Approve, err = d.Approve(ctx, *r.Approve, now, tell)
	case r.Unapprove != nil:
		out.Unapprove, err = d.Unapprove(ctx, *r.Unapprove, now)
	case r.List != nil:
		out.List, err = d.List(*r.List)
	case r.Publishers != nil:
		out.Publishers, err = d.Publishers()
	case r.Token != nil:
		out.Token, err = d.Token(*r.Token)
	default:
		err = fault.New(fault.Usage, "administer depot: the request is empty")
	}
	if err != nil {
		return nil, err
	}
	return &out, nil
}
