// Package http1 reads and writes HTTP/1.1 messages as bytes (RFC 9112), strictly: what two parsers
// could read in two ways is refused. Pure functions and small state machines; no sockets, no
// goroutines, no allocation once a head's slices have grown.
//
// A head is parsed in one pass. Everything parsed is a slice of the input, kept as it was sent: names in
// their case, fields in their order, the target untouched. What belongs to one hop only is
// taken out of the fields and told apart in the head, in both directions, so that it cannot be
// forwarded by neglect.
//
// After any error the rest of the connection means nothing: answer with its status, and close.
package http1
