// Package agent is one device: it asks what is approved for it, decides if and when, gets it, has it installed, and says
// what came of it.
//
// The main path is Agent.cycle (cycle.go), and it reads like section 3 of the design: sync, plan, and for each job
// download and install. Deciding is pure: plan (plan.go) turns what is offered, what is installed, the device's policy and
// the time into jobs, and does no I/O. Everything else is in the packages that the agent drives; what it hands from one to
// the next are values that carry proof (a metadata.Offer, a store.File, an install.Verified), so the agent could not
// install what was not checked even if it wanted to.
//
// It trusts its state folder (0700, its own user's) and what metadata.Open has verified. It does not trust depots,
// origins and peers. One job that fails never keeps another from running, and the next cycle needs nobody's help.
//
// Start reading at Agent.Run, then cycle.go. Config is the manual of its settings.
package agent
