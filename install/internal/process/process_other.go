//go:build !linux

package process

import (
	"os/exec"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func closeInherited() {}

// reap waits for the end of a started program and ends its group.
func reap(cmd *exec.Cmd) error {
	defer killGroup(cmd.Process.Pid)
	return cmd.Wait()
}
