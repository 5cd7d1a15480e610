// Package page serves a small page of a machine's own: what is moving now and between whom, what was saved, who is around,
// what is installed or kept, and what was decided lately. It is for those without Grafana, and for the moment when somebody
// stands before one machine and asks what it is doing.
//
// It listens on loopback only and answers only requests whose Host is a loopback name, so that a web page of a stranger
// cannot read it by making a name of its own point here. It asks nobody for anything, has no form and changes nothing. All
// that it shows passes html/template: names come from publishers and from the network. What it shows is bounded.
//
// Who is behind it is a Subject: the agent or the cache node. The loop of Run owns the samples that rates are made of; the
// handlers read them.
//
// Start reading at Page (page.go), then look.go for what a Subject tells, snapshot.go for what is made of it, and handler.go.
package page
