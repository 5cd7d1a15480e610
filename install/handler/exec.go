package handler

import (
	"context"
	"fmt"
	"slices"

	"github.com/dunlin-project/dunlin/install"
	"github.com/dunlin-project/dunlin/install/internal/process"
	"github.com/dunlin-project/dunlin/internal/fault"
	"github.com/dunlin-project/dunlin/metadata"
)

// Exec runs the payload: a program, or a script that begins with #!. It is run by the descriptor that was hashed, as a
// child with the signed arguments, a fixed environment and no input. Descriptor 3 is the payload itself. What is still in
// its process group when it has ended is killed.
//
// What a program did cannot be taken back. One that was interrupted by a crash, or whose health check fails, is run again
// by the next attempt, and must bear that.
type Exec struct{}

// Apply implements install.Handler.
func (Exec) Apply(ctx context.Context, v *install.Verified, _ *install.Transaction) (install.Outcome, error) {
	u := v.Update()
	r, err := process.Run(ctx, process.Command{
		Program: v.File(),
		Args:    append([]string{u.ID}, u.Arguments...),
		Dir:     "/",
		Env:     v.Environment(),
	})
	if err != nil {
		return install.Outcome{}, fault.WithHint(wrapOutput(err, r), "a program must be an ELF file or begin with #!, and the state folder must not be mounted noexec")
	}
	return judge(u, r)
}

// judge compares the exit code with the signed ones.
func judge(u *metadata.Update, r process.Result) (install.Outcome, error) {
	success := u.Success
	if len(success) == 0 {
		success = []int{0}
	}
	o := install.Outcome{Output: r.Output}
	switch {
	case slices.Contains(u.Reboot, r.Code):
		o.Reboot = true
		return o, nil
	case slices.Contains(success, r.Code):
		return o, nil
	}
	return install.Outcome{}, fault.New(fault.Install, "program: %v; it printed %s", r, r.Tail())
}

func wrapOutput(err error, r process.Result) error {
	if r.Output == "" {
		return err
	}
	return fmt.Errorf("%w; it printed %s", err, r.Tail())
}

// Installed implements install.Handler. A program leaves nothing that could be looked at: the record stands.
func (Exec) Installed(context.Context, *install.Record) (bool, error) { return true, nil }
