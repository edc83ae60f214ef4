// Package mimetree makes the part of a message's document that WildDuck makes from the octets of the message: the tree of
// its parts with parsed headers, what is cut out of it as attachments, envelope, body structure, search index, texts and
// preview; and it rebuilds the octets of a message from a tree as WildDuck does.
//
// Its rules are WildDuck's, where they are other than those of package message as well: both kinds of nodes read the same
// documents, and a tree must be the same whoever made it. What is lost by these rules (bare line feeds, unusual ends of
// multiparts) is the caller's to keep; Node says where in the message each body was.
//
// The package is pure: octets in, documents out.
package mimetree
