package depot

import (
	"github.com/dunlin-project/dunlin/internal/fault"
)

// Failure is an error that crosses the administration socket, or stands in a result beside others, and keeps its kind.
type Failure struct {
	Kind int    `json:"kind"` // the exit code of its fault.Kind
	Text string `json:"text"`
	Hint string `json:"hint,omitempty"`
}

func failureOf(err error) *Failure {
	return &Failure{Kind: int(fault.Of(err)), Text: err.Error(), Hint: fault.Hint(err)}
}

// Err is the error again.
func (f *Failure) Err() error { return fault.Again(f.Kind, f.Text, f.Hint) }
