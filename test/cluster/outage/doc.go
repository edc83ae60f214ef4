//go:build e2e

// Package outage takes MongoDB and Redis away from a cluster of two nodes of the built Mallard binary: they hang, are
// killed, or come late, while mail flows. It must not import any package of the module but test/servers and the harness of
// test/e2e.
package outage
