// Package lint holds the rules of this repository that no general tool knows, as
// tests: which package may import which, what every package must have, and what
// may not appear anywhere. A failing test says the rule and its reason.
package lint
