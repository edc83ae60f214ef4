//go:build e2e

// Package proxied runs two nodes behind a real HAProxy with the configuration files of docs/ops/cluster.md, and kills and
// restarts them under load. It must not import any package of the module but test/servers and the harness of test/e2e.
package proxied
