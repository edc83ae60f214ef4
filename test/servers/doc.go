//go:build e2e

// Package servers starts the programs that Mallard works with or beside: a server of the MongoDB protocol, Redis and its
// Sentinels, Node WildDuck, Haraka and HAProxy. Each has its own directory and free ports on loopback, ends with the
// test, and can be killed and started again on its data. test/rig/install.sh installs them.
//
// It must not import any package of the module. test/servers/with runs a command beside the two databases.
package servers
