package swarm

import "strconv"

// maxQuoted bounds foreign text in a log record, in bytes.
const maxQuoted = 256

// quote makes text that may come from a peer safe for a log or a terminal.
func quote(err error) string {
	if err == nil {
		return ""
	}
	s := err.Error()
	if len(s) > maxQuoted {
		s = s[:maxQuoted] + "..."
	}
	q := strconv.Quote(s)
	return q[1 : len(q)-1]
}
