// # What a peer can do, and what comes of it
//
// Every frame that moves no byte and finishes no stream, and every reset of a
// stream that cannot have been answered, costs its sender from one budget of its
// connection (budget.go): 10000 units a second drain from it, finished streams and
// DATA sent repay it, and who owes more than 20000 units is told ENHANCE_YOUR_CALM
// ("calm" below) and cut off, with a line in the log of either end's owner. At that
// rate a connection costs some per cent of a processor.
//
//	from a peer                              cost in units, or bound          at the bound
//	RST_STREAM sooner than an answer and     1, at a server                   calm
//	  a round trip after HEADERS
//	RST_STREAM, HEADERS on closed streams    1 (a request: STREAM_CLOSED)     calm
//	frame that makes this end reset: WINDOW_ 1, and 1 each 128 bytes of a     calm; till then
//	  UPDATE 0 or overflow, DATA beyond the  header block decoded for it      the stream's reset
//	  window or after its end, malformed or
//	  too large HEADERS, refused streams, a
//	  Receiver's error
//	what a handler does for ended streams    streams open, and over but not   REFUSED_STREAM
//	                                         closed by their owners, together
//	                                         2 x MaxStreams
//	HEADERS, trailers                        1 each KiB of the block          calm
//	interim responses                        1 each, and its block            calm
//	CONTINUATION                             32 frames and one each 8 KiB of  calm
//	                                         MaxHeaderBytes; twice those and
//	                                         1 KiB in bytes
//	header list, references to one field     MaxHeaderBytes                   reset, CALM
//	one string, and CONTINUATION behind a    -                                COMPRESSION_ERROR,
//	  list, of more than twice that and 1 KiB                                 PROTOCOL_ERROR
//	dynamic table, HEADER_TABLE_SIZE         4096 bytes either way            COMPRESSION_ERROR
//	PING, PING ACK, SETTINGS ACK, PRIORITY,  1                                calm
//	  unknown frames, empty DATA, padding
//	  without DATA
//	SETTINGS                                 1, 1 a setting, and 1 each 16    calm
//	                                         streams; each 4 at a new window
//	WINDOW_UPDATE, of a byte or more         1, and of the connection 1 each  calm
//	                                         16 writers that wait
//	GOAWAY                                   1 and a quarter of the streams;  calm
//	                                         the id may not rise in effect
//	MAX_FRAME_SIZE out of range, PUSH_       -                                PROTOCOL_ERROR
//	  PROMISE, frames on idle streams, even
//	  ids
//	requests that go on after a refusal      32 KiB each, 16 at once          RST_STREAM NO_ERROR
//	windows over 2^31-1                      -                                FLOW_CONTROL_ERROR
//	ids that were used, DATA after its end   the last 32 ended are known      STREAM_CLOSED
//	MAX_CONCURRENT_STREAMS 0                 MaxConns connections             Open waits for its ctx
//	window of zero for ever                  nothing is buffered for it       Write's deadline
//	answers that are not read                1 MiB                            closed, calm
//	handshake, preface or SETTINGS missing   HandshakeTimeout                 closed
//	silence, also within a frame, a socket   PingPeriod + PingTimeout         closed
//	  that is full and takes nothing
//
// Memory that a connection can make its peer's process hold: 32 KiB to read, one
// frame of 128 KiB, the table's 4 KiB, up to 2 MiB of frames to write (given back
// when it is quiet), and for each stream 64 KiB of unread bytes, or its window where
// [Windows] gave it more. A connection takes of [Windows] no more than it leaves, and
// servers refuse streams where all least windows would hold 16 times its limit. A
// stream that has ended counts until its owner has read or closed it. A connection
// that echoed 16 KiB on one stream and is idle holds about 105 KiB at either end, and
// three goroutines (go test ./pool -run CostLittle -v, 1000 connections).
package pool
