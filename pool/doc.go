// Package pool gives net.Conn-like streams over few HTTP/2 connections (RFC 9113),
// at either end. It knows nothing of HTTP/1 or of what the streams carry.
//
// A [Client] keeps its connections warm, however many first calls come at once, and
// replaces the ones that die; [Client.Open] opens a stream. A [Server] takes the
// connections of any net.Listener and hands each stream to one function, to
// [Server.Accept], or to whatever serves a net.Listener ([Server.Listener]). Any
// HTTP/2 peer or proxy may be at the other end: a stream is a POST whose two bodies
// flow at once.
//
// A [Stream] is a net.Conn: each direction ends by itself ([Stream.CloseWrite]), a
// deadline concerns its stream only, [Stream.Reset] ends it with a code. It is
// written by blocking calls under HTTP/2's flow control, and read either by blocking
// calls, or by a [Receiver], which the connection's reading goroutine calls with each
// payload where it lies. A stream has no goroutine and no timer of its own.
//
// # What is promised
//
//   - TLS 1.3, and the peer verified, unless the configuration names something less.
//   - io.EOF means that the peer ended its side, and nothing else does.
//   - An error that is [ErrNotStarted] means that the peer did not process the stream.
//   - A dead peer is noticed within PingPeriod + PingTimeout of silence, also one whose
//     packets are swallowed, or whose process is stopped; its streams fail then, and the
//     client dials with a jittered back-off. A thin link is no dead peer: while bytes come,
//     or while what is before the PING goes on its way, the connection lives.
//   - Everything a peer can make this end hold is bounded: connections, streams, header
//     lists, windows ([Windows]), answers that it does not read.
//   - After Close no stream is open at either end, and no goroutine is left at this one.
//
// Where it is the server that wants to begin, [Client.Ready] keeps streams open in
// advance, and the server's [ReadySet] hands them out, by an id that both ends know.
// A [Trace] is told of all that comes and goes, and Stats counts it.
//
// The frames are read by golang.org/x/net/http2's Framer and the header blocks
// coded by its hpack; its Transport and Server are not used.
package pool
