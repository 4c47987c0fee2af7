package proxy

import "strings"

const okHead = "HTTP/1.1 200 OK\n"

// strayResponse is a response that nobody asked for.
const strayResponse = "HTTP/1.1 200 OK\nContent-Length: 5\n\nstray"

var largeBody = strings.Repeat("large", 40_000)

var tolds = []told{
	{"a length", "", okHead + "Content-Length: 2\n\nok" + pause, "200 ok"},
	{"an interim one and nothing", "", "HTTP/1.1 103 Early Hints\n\n", "103 502 Bad Gateway"},
	{"a length of nothing", "", okHead + "Content-Length: 0\n\n" + pause, "200"},
	{"chunks", "", okHead + "Transfer-Encoding: chunked\n\n1;a=b\no\n1\nk\n0\nX: y\n\n" + pause, "200 ok"},
	{"until the end", "", okHead + "\nok", "200 ok"},
	{"nothing until the end", "", okHead + "\n", "200"},
	{"HTTP/1.0 until the end", "", "HTTP/1.0 200 OK\n\nok", "200 ok"},
	{"HTTP/1.0 with a length", "", "HTTP/1.0 200 OK\nContent-Length: 2\n\nok" + pause, "200 ok"},
	{"no reason", "", "HTTP/1.1 200\nContent-Length: 2\n\nok" + pause, "200 ok"},
	{"HTTP/1.2", "", "HTTP/1.2 200 OK\nContent-Length: 2\n\nok" + pause, "200 ok"},
	{"a length and more", "", okHead + "Content-Length: 2\n\nok" + strayResponse + pause, "200 ok"},
	{"chunks and more", "", okHead + "Transfer-Encoding: chunked\n\n2\nok\n0\n\n" + strayResponse + pause, "200 ok"},
	{"a large body and more", "", okHead + "Content-Length: 200000\n\n" + largeBody + strayResponse + pause, "200 " + largeBody},
	{"a length and half of more", "", okHead + "Content-Length: 2\n\nokHTTP/1.1 200 OK\nCont" + pause + "ent-Length: 5\n\nstray" + pause, "200 ok"},
	{"chunks and half of more", "", okHead + "Transfer-Encoding: chunked\n\n2\nok\n0\n\nHTTP/1.1 200 OK\nCont" + pause + "ent-Length: 5\n\nstray" + pause, "200 ok"},
	{"a large body and half of more", "", okHead + "Content-Length: 200000\n\n" + largeBody + "HTTP/1.1 200 OK\nCont" + pause + "ent-Length: 5\n\nstray" + pause, "200 " + largeBody},

	{"a length twice", "", okHead + "Content-Length: 2\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a length twice in a list", "", okHead + "Content-Length: 2, 2\n\nok" + pause, "502 Bad Gateway"},
	{"a length and its like of zeros", "", okHead + "Content-Length: 2\ncontent-length: 02\n\nok" + pause, "502 Bad Gateway"},
	{"two lengths", "", okHead + "Content-Length: 2\nContent-Length: 3\n\nok!" + pause, "502 Bad Gateway"},
	{"two lengths in a list", "", okHead + "Content-Length: 2, 3\n\nok!" + pause, "502 Bad Gateway"},
	{"a length with plus", "", okHead + "Content-Length: +2\n\nok" + pause, "502 Bad Gateway"},
	{"a length with minus", "", okHead + "Content-Length: -2\n\nok" + pause, "502 Bad Gateway"},
	{"an empty length", "", okHead + "Content-Length:\n\nok" + pause, "502 Bad Gateway"},
	{"a length of 2^64 and 2", "", okHead + "Content-Length: 18446744073709551618\n\nok" + pause, "502 Bad Gateway"},
	{"a coding and a length", "", okHead + "Transfer-Encoding: chunked\nContent-Length: 2\n\n2\nok\n0\n\n" + pause, "502 Bad Gateway"},
	{"a length and a coding", "", okHead + "Content-Length: 12\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n" + pause, "502 Bad Gateway"},
	{"an unknown coding", "", okHead + "Transfer-Encoding: gzip, chunked\n\n2\nok\n0\n\n" + pause, "502 Bad Gateway"},
	{"identity", "", okHead + "Transfer-Encoding: identity\n\nok", "502 Bad Gateway"},
	{"chunked twice", "", okHead + "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n" + pause, "502 Bad Gateway"},
	{"chunked in HTTP/1.0", "", "HTTP/1.0 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n0\n\n" + pause, "502 Bad Gateway"},
	{"both framings of a response to HEAD", "HEAD", okHead + "Content-Length: 2\nTransfer-Encoding: chunked\n\n" + pause, "502 length 12"},

	{"a chunk size that is none", "", okHead + "Transfer-Encoding: chunked\n\nxyz\nok\n0\n\n" + pause, "bad"},
	{"a chunk size that overflows", "", okHead + "Transfer-Encoding: chunked\n\n10000000000000002\nok\n0\n\n" + pause, "bad"},
	{"a chunk longer than its size", "", okHead + "Transfer-Encoding: chunked\n\n2\nok!\n0\n\n" + pause, "bad"},
	{"a line feed alone behind a chunk", "", okHead + "Transfer-Encoding: chunked\n\n2\nok␊0\n\n" + pause, "bad"},
	{"a bad chunk behind a large one", "", okHead + "Transfer-Encoding: chunked\n\n30d40\n" + largeBody + "\nxyz\n" + pause, "bad"},
	{"a bad trailer", "", okHead + "Transfer-Encoding: chunked\n\n2\nok\n0\nX : y\n\n" + pause, "bad"},

	{"cut short in its head", "", okHead + "Content-Len", "502 Bad Gateway"},
	{"cut short in its length", "", okHead + "Content-Length: 3\n\nok", "502 Bad Gateway"},
	{"cut short in a chunk", "", okHead + "Transfer-Encoding: chunked\n\n3\nok", "bad"},
	{"cut short before the last chunk", "", okHead + "Transfer-Encoding: chunked\n\n2\nok\n", "bad"},
	{"cut short in the last line", "", okHead + "Transfer-Encoding: chunked\n\n2\nok\n0\n", "bad"},
	{"a large one cut short", "", okHead + "Content-Length: 200001\n\n" + largeBody, "bad"},
	{"a large one in chunks cut short", "", okHead + "Transfer-Encoding: chunked\n\n30d40\n" + largeBody + "\n", "bad"},

	{"an empty line first", "", "\n" + okHead + "Content-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"no HTTP", "", "ICY 200 OK\n\nok", "502 Bad Gateway"},
	{"HTTP/2.0", "", "HTTP/2.0 200 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"http in lower case", "", "http/1.1 200 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a status of two digits", "", "HTTP/1.1 20 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a status of four digits", "", "HTTP/1.1 2000 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a status of letters", "", "HTTP/1.1 abc OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a status below 100", "", "HTTP/1.1 099 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"two spaces before the status", "", "HTTP/1.1  200 OK\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a control byte in the reason", "", "HTTP/1.1 200 O\x01K\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a line feed alone behind the status line", "", "HTTP/1.1 200 OK␊Content-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a carriage return alone in a value", "", okHead + "X: y\rContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a line feed alone in a value", "", okHead + "X: y␊Content-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"NUL in a value", "", okHead + "X: \x00\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a folded line", "", okHead + "X: y\n z\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	// RFC 9112 5.1 would take the space out; nobody sends it any more but in malice.
	{"a space before the colon", "", okHead + "Content-Length : 2\n\nok" + pause, "502 Bad Gateway"},
	{"no colon", "", okHead + "X\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"a head over its limit", "", okHead + "X: " + strings.Repeat("y", 70<<10) + "\nContent-Length: 2\n\nok" + pause, "502 Bad Gateway"},
	{"too many fields", "", okHead + strings.Repeat("X: y\n", 300) + "Content-Length: 2\n\nok" + pause, "502 Bad Gateway"},

	{"Early Hints", "", "HTTP/1.1 103 Early Hints\nLink: </a>\n\n" + okHead + "Content-Length: 2\n\nok" + pause, "103 200 ok"},
	{"several interim ones", "", "HTTP/1.1 102 Processing\n\nHTTP/1.1 103 Early Hints\n\nHTTP/1.1 103 Early Hints\nX: y\n\n" + okHead + "Content-Length: 2\n\nok" + pause, "102 103 103 200 ok"},
	{"100 that nobody waits for", "", "HTTP/1.1 100 Continue\n\n" + okHead + "Content-Length: 2\n\nok" + pause, "200 ok"},
	{"an interim one with a length", "", "HTTP/1.1 103 Early Hints\nContent-Length: 2\n\n" + okHead + "Content-Length: 2\n\nok" + pause, "103 200 ok"},
	{"an interim one and a bad one", "", "HTTP/1.1 103 Early Hints\n\nHTTP/1.1 abc\n\n" + pause, "103 502 Bad Gateway"},
	{"another protocol that nobody asked for", "", "HTTP/1.1 101 Switching Protocols\nConnection: Upgrade\nUpgrade: x\n\n" + strayResponse + pause, "502 Bad Gateway"},

	{"HEAD with a length", "HEAD", okHead + "Content-Length: 12345\n\n" + pause, "200 length 12345"},
	{"HEAD without a length", "HEAD", okHead + "X: y\n\n" + pause, "200"},
	{"HEAD with chunked", "HEAD", okHead + "Transfer-Encoding: chunked\n\n" + pause, "200"},
	{"HEAD with a body", "HEAD", okHead + "Content-Length: 5\n\nhello" + pause, "200 length 5"},
	{"HEAD with another response for a body", "HEAD", okHead + "Content-Length: 43\n\n" + strayResponse + pause, "200 length 43"},
	{"HEAD with half of a body", "HEAD", okHead + "Content-Length: 43\n\nHTTP/1.1 200 OK\nCont" + pause + "ent-Length: 5\n\nstray" + pause, "200 length 43"},
	{"204", "", "HTTP/1.1 204 No Content\n\n" + pause, "204"},
	{"204 with a length", "", "HTTP/1.1 204 No Content\nContent-Length: 5\n\n" + pause, "204"},
	{"204 with a body", "", "HTTP/1.1 204 No Content\nContent-Length: 43\n\n" + strayResponse + pause, "204"},
	{"204 in chunks", "", "HTTP/1.1 204 No Content\nTransfer-Encoding: chunked\n\n0\n\n" + pause, "204"},
	{"304 with a length", "", "HTTP/1.1 304 Not Modified\nContent-Length: 99\n\n" + pause, "304 length 99"},
	{"304 with a body", "", "HTTP/1.1 304 Not Modified\nContent-Length: 43\n\n" + strayResponse + pause, "304 length 43"},
	{"205 with a body", "", "HTTP/1.1 205 Reset Content\nContent-Length: 2\n\nok" + pause, "205 ok"},
	{"a status that nobody knows", "", "HTTP/1.1 599 Own\nContent-Length: 2\n\nok" + pause, "599 ok"},
}
