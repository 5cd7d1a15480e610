package process

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// closeInherited keeps descriptors that our own parent left open from reaching a child. Ours are marked anyway.
func closeInherited() {
	const first = 3
	_ = unix.CloseRange(first, ^uint(0), unix.CLOSE_RANGE_CLOEXEC) // an old kernel has no such call
}

// reap waits for the end of a started program and ends its group, before the group's number can become another's.
func reap(cmd *exec.Cmd) error {
	for errors.Is(unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	killGroup(cmd.Process.Pid)
	return cmd.Wait()
}
