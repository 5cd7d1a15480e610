// Package member is what all machines have in common that have joined an organisation, devices and cache nodes: the anchors
// of their trust in a private folder, whom they ask for metadata, and when.
//
// It trusts the folder, and what package metadata verifies against the anchor that lies there. Start reading at Anchors
// (anchors.go), then Source (source.go).
package member
