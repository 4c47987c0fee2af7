// Package rawconn does the I/O of plain TCP and unix sockets with less of the scheduler in the way.
//
// A read or write through package net enters the kernel by entersyscall, which lets sysmon take the
// P away and wakes other threads; on a proxy's path that costs more than the call itself. Here the
// calls are raw, inside the callbacks of [syscall.RawConn] on the non-blocking descriptor: the
// poller, deadlines and Close work as always, but the scheduler does not notice calls that
// cannot block. It pays only when every frequent call of a process is raw.
//
// On Linux a [Loop] watches many sockets with an epoll of its own, and deals with what comes on its own goroutine: see [Watched].
//
// sys_raw.go holds the raw calls (Linux). sys_plain.go holds the same three functions through package
// syscall, for other unix systems and for the race detector, which does not see raw I/O.
// All that is above them is the same in every build.
package rawconn
