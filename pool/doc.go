// Package pool keeps HTTP/2 connections (RFC 9113) to a peer and opens streams
// on them. It knows nothing of HTTP/1 or of what the streams carry.
//
// A [Client] keeps its connections warm, dials them one flight at a time and
// replaces the ones that die. A [Server] accepts connections and hands each
// stream a peer opens to one function. Both ends run the same engine: per
// connection one goroutine reads frames, one writes them, and one watches for a
// dead peer.
//
// A [Stream] is written by blocking calls under HTTP/2's flow control. It is
// read either by blocking calls, or by a [Receiver], which the reading goroutine
// calls with each DATA payload where it lies.
//
// Where it is the server that wants to begin, [Client.Ready] keeps streams open in
// advance, and the server's [ReadySet] hands them out, by an id that both ends know.
//
// The frames are read by golang.org/x/net/http2's Framer and the header blocks
// coded by its hpack; its Transport and Server are not used.
package pool
