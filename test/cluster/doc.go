//go:build e2e

// Package cluster runs several nodes of the built Mallard binary on one database, kills them and cuts them off. It must
// not import any package of the module but test/servers and the harness of test/e2e.
package cluster
