// Package address holds the rules by which addresses, domains and usernames are
// compared: their normal forms, their views (the unique forms), their syntax and
// the order in which wildcard rows match.
//
// Everything here is pure: no I/O, no state. The package imports nothing of
// Mallard. The rules are those of WildDuck, because both systems must find the
// same account for the same text.
//
// # Forms of an address
//
//	as typed    First.Last+tag@XN--JGEVA-DUA.ee
//	normalised  first.last+tag@jõgeva.ee         Normalize
//	for lookup  first.last@jõgeva.ee             Normalize with RemoveLabel
//	view        firstlast@jõgeva.ee              View of that
//
// Rows are stored in normalised form without a label; they are unique by view.
package address
