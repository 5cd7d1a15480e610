// Package finding shows that devices find the caching nodes of their site and use them: real hosts on a network of their own,
// where nothing is configured but what a test is about. The judge is the origin, which notes each byte that it sends.
//
// It trusts the kernel's networks and SHA-256. Start reading at site, then TestNothingConfigured.
package finding
