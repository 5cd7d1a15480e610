// Package measure has the metrics that an agent and a cache node have in common, so that both say the same thing under the same
// name and a dashboard can add them up.
//
// It counts only what fetch.Stats say, and each byte once: where it ends. Nothing here has an id, a name or an address as a
// label. Start reading at Transfers; Serve is how a process shows its metrics.
package measure
