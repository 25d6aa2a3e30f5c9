// Package auth decides who a connection or an HTTP request is.
//
// Chain is the whole of it: credentials go in, an Identity or a Refusal comes out. What it asks, in this order:
//
//	username        password          answer
//	--------------  ----------------  -----------------------------------------------------------------
//	none            any               a guest with a random name (auth.guest: read), else refused
//	-               token             whoever the token says
//	alice, ns/alice token             the token, if its subject is that user
//	alice, ns/alice anything          auth.trust: that user; else the password in the users file
//
// A token is a JWT. The ones the broker issued itself (POST /auth/login, POST /auth/guest) carry the broker's key id
// and are checked with a key derived from the cluster's secret and with nothing else; all others are checked with the
// keys of auth.jwt. Each key verifies exactly one algorithm, so a public key can never be taken for an HMAC secret.
//
// Guessing is made expensive in three ways: a memory-hard hash, a limit on how many run at once (the hash itself is a
// way to overload a node), and a back-off per user and address. A user who does not exist costs the same time and
// gets the same text as a wrong password.
//
// No password and no token ever appears in an error or a log line of this package.
package auth
