// Package metadatatest makes an organisation and its publishers in memory, signed and consistent, for tests of whatever
// reads a metadata.View.
//
// Everything about it may be spoiled before it is looked at: the repositories are those of package tuftest. It is for
// tests only. Start reading at NewOrg.
package metadatatest
