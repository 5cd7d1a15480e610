// Package installtest has a bench to install on, and the contract of install.Handler as a test.
//
// The bench is a device, an organisation and a publisher in memory, with everything signed; what a test spoils is up to
// the test. It is for tests only. Start reading at New, then TestHandler.
package installtest
