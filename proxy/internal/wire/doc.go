// Package wire is the codec of the hop's batches and records: bytes in, values out, no I/O. The
// format is PROTOCOL.md, sections 3, 4, 5, 7 and 8; a comment that says "section" means that file.
//
// An [Encoder] appends records to a [Batch]; the batch's shared section goes through a codec, its raw
// section does not, and [AppendHeader] makes the bytes that precede both. At the other end
// [ParseHeader] tells the lengths, and a [Decoder] gives the records one by one. An encoder and
// its decoder are one direction of one stream: both remember the same dictionary of fields, so every
// batch made must arrive, once and in order.
//
// The encoder trusts its caller: what it is given was checked, by [IsToken], [IsValue], [IsTarget]
// and [IsForbidden] or something stricter. The decoder trusts nobody. What it cannot know it leaves
// to its caller, and says so: see [Decoder.Next].
package wire
