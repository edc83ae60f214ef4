// Package password makes and checks password hashes and application passwords.
//
// # What it owns
//
// The text formats in which a password hash is stored, the cost of new hashes, the bounds on what a stored hash may
// cost, and the shape of application passwords. It knows nothing of users, storage, throttling or protocols, and must
// import nothing of Mallard but package mail.
//
// # Formats
//
//	$pbkdf2-sha256$i=N$salt$hash        PBKDF2 (RFC 8018), PHC string, base64 without padding; made by [Hash]
//	$pbkdf2-sha512$… $pbkdf2-sha1$…     the same with another digest
//	$2a$ $2b$ $2y$                      bcrypt; only the first 72 octets of a password count
//	$argon2id$ $argon2i$ $argon2d$      Argon2 (RFC 9106), version 1.3 (v=19) and 1.0 (v=16 or none), also with data=
//	$5$ $6$                             SHA-256 and SHA-512 crypt with optional rounds=
//	$1$                                 MD5 crypt
//	13 characters of [./0-9A-Za-z]      traditional DES crypt; only the first 8 octets of a password count
//
// All are verified, only the first is made. [Verify] says when a hash should be replaced. Argon2 with a secret (keyid=)
// is recognised and refused with [ErrUnsupported].
//
// A password is a sequence of octets: it is compared as the UTF-8 that the client sent, without Unicode normalisation,
// as WildDuck does, so that hashes can be shared with it.
//
// # Cost
//
// A stored hash can come from an administrator or an import and names its own cost, so that cost is bounded by [Limits]
// before any work is done. Hashing is CPU bound; servers use a [Verifier], which bounds how many hashes are computed at
// once and how many callers may wait. A caller that finds no such account, or one without a password, calls
// VerifyNobody, which takes the time of a real check, so that the time of an answer does not tell whether an account
// exists. (An account that still has a hash in one of the older formats takes the time of that format until its first
// successful login replaces the hash.)
package password
