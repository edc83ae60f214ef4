//go:build e2e

// Package interop runs the built Mallard binary and Node WildDuck on one database, and Haraka in front of Mallard, and
// looks at both through their protocols as users do. It must not import any package of the module but test/servers and
// the harness of test/e2e.
//
// With MALLARD_E2E_WILDDUCK=1 a second WildDuck stands in Mallard's place: a test that fails there too is wrong, or asks
// for more than WildDuck does.
package interop
