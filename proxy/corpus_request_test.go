package proxy

import (
	"slices"
	"strings"
)

const (
	getHead     = "GET / HTTP/1.1\nHost: x\n"
	postHead    = "POST / HTTP/1.1\nHost: x\n"
	chunkedHead = postHead + "Transfer-Encoding: chunked\n\n"
	// hiddenRequest, of 33 bytes, stands where a body is, or what another reader takes for one. It must
	// never become a request of its own.
	hiddenRequest = "GET /hidden HTTP/1.1\nHost: x\n\n"
	secondRequest = "GET /second HTTP/1.1\nHost: x\n\n"
)

// withLength is what postHead becomes whose body came whole in chunks.
func withLength(n, body string) []string {
	return []string{postHead + "Content-Length: " + n + "\n\n" + body}
}

var hostiles = slices.Concat(
	corpusLengths, corpusCodings, corpusChunks, corpusClassics, corpusLineEnds, corpusFieldLines, corpusHosts,
	corpusVersions, corpusLimits, corpusTargets, corpusMethods, corpusFidelity, corpusHops,
)

var corpusLengths = []hostile{
	{"a length", postHead + "Content-Length: 5\n\nhello", "200", nil},
	{"a length of nothing", postHead + "Content-Length: 0\n\n", "200", nil},
	{"spaces around a length", postHead + "Content-Length: \t 5 \t\n\nhello", "200", withLength("5", "hello")},
	{"zeros before a length", postHead + "Content-Length: 005\n\nhello", "200", withLength("5", "hello")},
	// Equal lengths may become one (RFC 9112 6.3).
	{"a length twice", postHead + "Content-Length: 5\nContent-Length: 5\n\nhello", "200", withLength("5", "hello")},
	{"a length twice in a list", postHead + "Content-Length: 5, 5\n\nhello", "200", withLength("5", "hello")},
	{"two lengths", postHead + "Content-Length: 5\nContent-Length: 6\n\nhello!", "400", nil},
	{"two lengths apart", postHead + "Content-Length: 5\nX: y\ncontent-length: 6\n\nhello!", "400", nil},
	{"a length and zero", postHead + "Content-Length: 33\nContent-Length: 0\n\n" + hiddenRequest, "400", nil},
	{"zero and a length", postHead + "Content-Length: 0\nContent-Length: 33\n\n" + hiddenRequest, "400", nil},
	{"two lengths in a list", postHead + "Content-Length: 5, 6\n\nhello!", "400", nil},
	{"a length and a comma", postHead + "Content-Length: 5,\n\nhello", "400", nil},
	{"a comma and a length", postHead + "Content-Length: ,5\n\nhello", "400", nil},
	{"two lengths, one empty", postHead + "Content-Length:\nContent-Length: 5\n\nhello", "400", nil},
	{"an empty length", postHead + "Content-Length:\n\n", "400", nil},
	{"a length with plus", postHead + "Content-Length: +5\n\nhello", "400", nil},
	{"a length with minus", postHead + "Content-Length: -5\n\nhello", "400", nil},
	{"minus zero", postHead + "Content-Length: -0\n\n", "400", nil},
	{"a length with a space in it", postHead + "Content-Length: 1 5\n\nhello", "400", nil},
	{"a length with a tab in it", postHead + "Content-Length: 1\t5\n\nhello", "400", nil},
	{"a hexadecimal length", postHead + "Content-Length: 0x5\n\nhello", "400", nil},
	{"a hexadecimal digit", postHead + "Content-Length: a\n\n0123456789", "400", nil},
	{"a length with a point", postHead + "Content-Length: 5.0\n\nhello", "400", nil},
	{"a length with an exponent", postHead + "Content-Length: 5e0\n\nhello", "400", nil},
	{"a length with an underscore", postHead + "Content-Length: 1_0\n\n0123456789", "400", nil},
	{"a length in quotes", postHead + "Content-Length: \"5\"\n\nhello", "400", nil},
	{"a length with a parameter", postHead + "Content-Length: 5;a=b\n\nhello", "400", nil},
	{"a length in other digits", postHead + "Content-Length: ５\n\nhello", "400", nil},
	{"a length behind a hard space", postHead + "Content-Length: \xa05\n\nhello", "400", nil},
	{"a length behind a vertical tab", postHead + "Content-Length: \v5\n\nhello", "400", nil},
	{"a length with NUL", postHead + "Content-Length: 5\x00\n\nhello", "400", nil},
	{"a length of 2^63", postHead + "Content-Length: 9223372036854775808\n\nhello", "400", nil},
	{"a length of 2^64 and 5", postHead + "Content-Length: 18446744073709551621\n\nhello", "400", nil},
	{"a length of 2^32 and 5", "POST /cut-length32 HTTP/1.1\nHost: x\nContent-Length: 4294967301\n\nhello" + pause, "cut", nil},
	{"a length of 18 digits", "POST /cut-length18 HTTP/1.1\nHost: x\nContent-Length: 999999999999999999\n\nhello" + pause, "cut", nil},
	{"a body shorter than its length", "POST /cut-length HTTP/1.1\nHost: x\nContent-Length: 10\n\nhello", "cut", nil},
	{"a folded length", postHead + "Content-Length:\n 5\n\nhello", "400", nil},
	{"another name with an underscore", postHead + "Content_Length: 5\n\n", "200", nil},
}

var corpusCodings = []hostile{
	{"chunked", chunkedHead + "5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"chunked in capitals", postHead + "TRANSFER-ENCODING: CHUNKED\n\n5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"chunked between spaces", postHead + "Transfer-Encoding:\t chunked \t\n\n5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"chunked with a GET", getHead + "Transfer-Encoding: chunked\n\n5\nhello\n0\n\n", "200", []string{getHead + "Content-Length: 5\n\nhello"}},
	{"a coding and a length", postHead + "Transfer-Encoding: chunked\nContent-Length: 5\n\n5\nhello\n0\n\n", "400", nil},
	{"a length and a coding", postHead + "Content-Length: 15\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", "400", nil},
	{"a coding and a length of nothing", postHead + "Transfer-Encoding: chunked\nContent-Length: 0\n\n0\n\n", "400", nil},
	{"a length that Connection names and a coding", postHead + "Connection: Content-Length\nContent-Length: 3\nTransfer-Encoding: chunked\n\n0\n\n", "400", nil},
	{"a coding that Connection names", postHead + "Connection: Transfer-Encoding\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"chunked twice", postHead + "Transfer-Encoding: chunked, chunked\n\n0\n\n", "400", nil},
	{"chunked on two lines", postHead + "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n", "400", nil},
	{"chunked and a line of identity", postHead + "Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n", "400", nil},
	// RFC 9112 6.1 has 501 for codings that are not understood.
	{"identity and a line of chunked", postHead + "Transfer-Encoding: identity\nTransfer-Encoding: chunked\n\n0\n\n", "501", nil},
	{"chunked before another", postHead + "Transfer-Encoding: chunked, identity\n\n0\n\n", "400", nil},
	{"chunked behind another", postHead + "Transfer-Encoding: gzip, chunked\n\n0\n\n", "501", nil},
	{"an empty coding", postHead + "Transfer-Encoding:\n\n0\n\n", "400", nil},
	{"chunked behind a comma", postHead + "Transfer-Encoding: , chunked\n\n0\n\n", "400", nil},
	{"chunked before a comma", postHead + "Transfer-Encoding: chunked,\n\n0\n\n", "501", nil},
	{"identity", postHead + "Transfer-Encoding: identity\n\n", "501", nil},
	{"identity and a length", postHead + "Transfer-Encoding: identity\nContent-Length: 5\n\nhello", "501", nil},
	{"gzip", postHead + "Transfer-Encoding: gzip\n\n", "501", nil},
	{"xchunked", postHead + "Transfer-Encoding: xchunked\n\n0\n\n", "501", nil},
	{"chunked with a parameter", postHead + "Transfer-Encoding: chunked;q=1\n\n0\n\n", "501", nil},
	{"chunked in quotes", postHead + "Transfer-Encoding: \"chunked\"\n\n0\n\n", "501", nil},
	{"chunked in quotes and a length", postHead + "Transfer-Encoding: 'chunked'\nContent-Length: 5\n\nhello", "501", nil},
	{"chunked with a word before", postHead + "Transfer-Encoding: x chunked\n\n0\n\n", "501", nil},
	{"chunked behind a vertical tab", postHead + "Transfer-Encoding: \vchunked\n\n0\n\n", "400", nil},
	{"chunked with NUL", postHead + "Transfer-Encoding: chunked\x00\n\n0\n\n", "400", nil},
	{"chunked with a byte above ASCII", postHead + "Transfer-Encoding: chun\xebed\n\n0\n\n", "501", nil},
	{"chunked on a folded line", postHead + "Transfer-Encoding:\n chunked\n\n0\n\n", "400", nil},
	{"a coding in HTTP/1.0", "POST / HTTP/1.0\nHost: x\nTransfer-Encoding: chunked\n\n0\n\n", "400", nil},
	{"a coding and a length in HTTP/1.0", "POST / HTTP/1.0\nHost: x\nTransfer-Encoding: chunked\nContent-Length: 5\n\n0\n\n", "400", nil},
	{"a coding's name with an underscore", postHead + "Transfer_Encoding: chunked\n\n0\n\n", "200 400", []string{postHead + "Transfer_Encoding: chunked\n\n"}},
}

var corpusChunks = []hostile{
	{"several chunks", chunkedHead + "1\nh\n2\nel\n02\nlo\n000\n\n", "200", withLength("5", "hello")},
	{"no chunk but the last", chunkedHead + "0\n\n", "200", withLength("0", "")},
	{"a size in capitals", chunkedHead + "A\n0123456789\n0\n\n", "200", withLength("10", "0123456789")},
	{"zeros before a size", chunkedHead + "0000000000000005\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"too many zeros before a size", chunkedHead + strings.Repeat("0", 40) + "5\nhello\n0\n\n", "400", nil},
	{"a size of 2^64", chunkedHead + "10000000000000000\nhello\n0\n\n", "400", nil},
	{"a size of 2^64 and 5", chunkedHead + "10000000000000005\nhello\n0\n\n", "400", nil},
	{"a size of 2^64 less 1", chunkedHead + "ffffffffffffffff\nhello\n0\n\n", "400", nil},
	{"a size of 2^63", chunkedHead + "8000000000000000\nhello\n0\n\n", "400", nil},
	{"a size of 2^32 and 5", "POST /cut-chunk32 HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n100000005\nhello\n0\n\n" + pause, "cut", nil},
	{"a size with minus", chunkedHead + "-5\nhello\n0\n\n", "400", nil},
	{"a size with plus", chunkedHead + "+5\nhello\n0\n\n", "400", nil},
	{"a size with 0x", chunkedHead + "0x5\nhello\n0\n\n", "400", nil},
	{"a last size with 0x", chunkedHead + "0x0\n\n", "400", nil},
	{"a size with an underscore", chunkedHead + "0_5\nhello\n0\n\n", "400", nil},
	{"a space before a size", chunkedHead + " 5\nhello\n0\n\n", "400", nil},
	{"a space behind a size", chunkedHead + "5 \nhello\n0\n\n", "400", nil},
	{"a tab behind a size", chunkedHead + "5\t\nhello\n0\n\n", "400", nil},
	{"a space in a size", chunkedHead + "0 5\nhello\n0\n\n", "400", nil},
	{"a letter too high in a size", chunkedHead + "5g\nhello\n0\n\n", "400", nil},
	{"no size", chunkedHead + "\nhello\n0\n\n", "400", nil},
	{"an extension and no size", chunkedHead + ";a=b\nhello\n0\n\n", "400", nil},
	{"NUL behind a size", chunkedHead + "5\x00\nhello\n0\n\n", "400", nil},
	{"a chunk's data longer than its size", chunkedHead + "5\nhello!\n0\n\n", "400", nil},
	{"a chunk's data shorter than its size", chunkedHead + "6\nhello\n0\n\n", "400", nil},
	{"no line end behind data", chunkedHead + "5\nhello0\n\n", "400", nil},
	{"a line feed alone behind a size", chunkedHead + "5␊hello\n0\n\n", "400", nil},
	{"a carriage return alone behind a size", chunkedHead + "5\rhello\n0\n\n", "400", nil},
	{"a line feed alone behind data", chunkedHead + "5\nhello␊0\n\n", "400", nil},
	{"a carriage return alone behind data", chunkedHead + "5\nhello\r0\n\n", "400", nil},
	{"a byte for the carriage return behind data", chunkedHead + "5\nhelloX␊0\n\n", "400", nil},
	{"two bytes for a line end behind data", chunkedHead + "5\nhelloXX0\n\n", "400", nil},
	{"a line feed alone behind the last size", chunkedHead + "0␊\n", "400", nil},
	{"a line feed alone at the end", chunkedHead + "0\n␊", "400", nil},
	{"an extension", chunkedHead + "5;a=b\nhello\n0;c\n\n", "200", withLength("5", "hello")},
	{"an extension in quotes", chunkedHead + "5 ; a=\"b;c\"\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"a long extension", chunkedHead + "5;" + strings.Repeat("a", 1100) + "\nhello\n0\n\n", "400", nil},
	{"an extension without end", chunkedHead + "5;" + strings.Repeat("a", 40000), "400", nil},
	{"extensions worth more than the data", "POST /cut-extensions HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n" + strings.Repeat("1;"+strings.Repeat("a", 1000)+"\nx\n", 20) + "0\n\n", "400", nil},
	{"a line feed alone in an extension", chunkedHead + "5;a␊hello\n0\n\n", "400", nil},
	{"a carriage return alone in an extension", chunkedHead + "5;a\rb\nhello\n0\n\n", "400", nil},
	{"NUL in an extension", chunkedHead + "5;a\x00b\nhello\n0\n\n", "400", nil},
	{"a line end in quotes in an extension", chunkedHead + "5;a=\"\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"trailers", chunkedHead + "5\nhello\n0\nX-Sum: 1\nx-Empty: \n\n", "200", []string{chunkedHead + "5\nhello\n0\nX-Sum: 1\nx-Empty: \n\n"}},
	{"trailers that must not be", chunkedHead + "5\nhello\n0\nContent-Length: 33\nTransfer-Encoding: gzip\nHost: y\nConnection: close\nX-Sum: 1\n\n", "200",
		[]string{chunkedHead + "5\nhello\n0\nX-Sum: 1\n\n"}},
	{"a folded trailer", chunkedHead + "0\nX: y\n z\n\n", "400", nil},
	{"a trailer with a space before the colon", chunkedHead + "0\nX : y\n\n", "400", nil},
	{"a trailer without a colon", chunkedHead + "0\nX\n\n", "400", nil},
	{"a trailer with NUL", chunkedHead + "0\nX: \x00\n\n", "400", nil},
	{"a trailer with a line feed alone", chunkedHead + "0\nX: y␊\n", "400", nil},
	{"too many trailers", chunkedHead + "0\n" + strings.Repeat("X: y\n", 300) + "\n", "431", nil},
	{"a bad chunk behind a good one", "POST /cut-a HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhello\n" + pause + "zz\n\n", "400", nil},
	{"a bad end of a chunk, later", "POST /cut-b HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhel" + pause + "lo!!0\n\n", "400", nil},
	{"a bad trailer, later", "POST /cut-c HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhello\n" + pause + "0\nX : y\n\n", "400", nil},
	{"a body that ends in a chunk", "POST /cut-d HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhe" + pause, "cut", nil},
	{"a body without its last chunk", "POST /cut-e HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhello\n" + pause, "cut", nil},
	{"a body without its last line", "POST /cut-f HTTP/1.1\nHost: x\nTransfer-Encoding: chunked\n\n5\nhello\n0\n" + pause, "cut", nil},
}

// What smuggling has been done with, where one reader goes by the length and
// another by the coding, or one of them by none.
var corpusClassics = []hostile{
	{"CL.TE", postHead + "Content-Length: 38\nTransfer-Encoding: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"CL.TE, half a request", postHead + "Content-Length: 6\nTransfer-Encoding: chunked\n\n0\n\nG", "400", nil},
	{"TE.CL", postHead + "Content-Length: 4\nTransfer-Encoding: chunked\n\n21\n" + hiddenRequest + "\n0\n\n", "400", nil},
	{"TE.TE by a second line", postHead + "Content-Length: 5\nTransfer-Encoding: chunked\nTransfer-encoding: cow\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a space before the colon", postHead + "Content-Length: 5\nTransfer-Encoding : chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a tab before the colon", postHead + "Content-Length: 5\nTransfer-Encoding\t: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a tab behind the colon", postHead + "Content-Length: 5\nTransfer-Encoding:\tchunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a vertical tab", postHead + "Content-Length: 5\nTransfer-Encoding:\vchunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a space before the name", postHead + "Content-Length: 5\n Transfer-Encoding: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a line feed alone", postHead + "Content-Length: 5\nX: y␊Transfer-Encoding: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a carriage return alone", postHead + "Content-Length: 5\nX: y\rTransfer-Encoding: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by a name on two lines", postHead + "Content-Length: 5\nTransfer-Encoding\n : chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by an unknown coding", postHead + "Content-Length: 5\nTransfer-Encoding: xchunked\n\n0\n\n" + hiddenRequest, "501", nil},
	{"TE.TE by NUL in the name", postHead + "Content-Length: 5\nTransfer\x00-Encoding: chunked\n\n0\n\n" + hiddenRequest, "400", nil},
	{"TE.TE by quotes", postHead + "Content-Length: 5\nTransfer-Encoding: \"chunked\"\n\n0\n\n" + hiddenRequest, "501", nil},
	{"chunked with garbage behind it", chunkedHead + "5\nhello\n0\n\nGARBAGE\n\n", "200 400", withLength("5", "hello")},
	{"chunked with a body behind it", chunkedHead + "0\n\nx=1", "200 400", withLength("0", "")},
	{"CL.0: a body that is a request", postHead + "Content-Length: 33\n\n" + hiddenRequest, "200", nil},
	{"CL.0 with GET", getHead + "Content-Length: 33\n\n" + hiddenRequest, "200", nil},
	{"0.CL: no length, and what looks like a body", getHead + "X-Content-Length: 33\n\n" + secondRequest, "200 200", []string{getHead + "X-Content-Length: 33\n\n", secondRequest}},
	{"a chunk that is a request", chunkedHead + "21\n" + hiddenRequest + "\n0\n\n", "200", withLength("33", hiddenRequest)},
	{"a chunk's extension that is a request", chunkedHead + "5;\n" + hiddenRequest + "0\n\n", "400", nil},
	{"a request in a folded line", getHead + "X: y\n GET /hidden HTTP/1.1\n\n", "400", nil},
	{"a request behind an Upgrade that is declined", getHead + "Connection: Upgrade\nUpgrade: websocket\n\n" + hiddenRequest, "200 end",
		[]string{getHead + "Upgrade: websocket\nConnection: Upgrade\n\n"}},
	{"a good one and a bad one", secondRequest + postHead + "Content-Length: +0\n\n", "200 400", []string{secondRequest}},
	{"a good one, a bad one, a good one", secondRequest + postHead + "Content-Length: 1\nContent-Length: 2\n\n" + hiddenRequest, "200 400", []string{secondRequest}},
	{"a bad one and a good one", postHead + "Transfer-Encoding: x\n\n" + hiddenRequest, "501", nil},
	{"three good ones", secondRequest + postHead + "Content-Length: 5\n\nhello" + secondRequest, "200 200 200",
		[]string{secondRequest, postHead + "Content-Length: 5\n\nhello", secondRequest}},
	{"one that closes and a good one", getHead + "Connection: close\n\n" + hiddenRequest, "200 end", []string{getHead + "\n"}},
	{"HTTP/1.0 and a good one", "GET / HTTP/1.0\nHost: x\n\n" + hiddenRequest, "200 end", []string{getHead + "\n"}},
	{"a body and what is left of it", postHead + "Content-Length: 3\n\nhello\n\n", "200 400", withLength("3", "hel")},
	{"expecting, with the body at once", postHead + "Expect: 100-continue\nContent-Length: 33\n\n" + hiddenRequest, "200", withLength("33", hiddenRequest)},
}

var corpusLineEnds = []hostile{
	{"a line feed alone behind the request line", "GET / HTTP/1.1␊Host: x\n\n", "400", nil},
	{"a line feed alone behind a field", "GET / HTTP/1.1\nHost: x␊\n", "400", nil},
	{"a line feed alone for the last line", getHead + "␊", "400", nil},
	{"line feeds alone", "GET / HTTP/1.1␊Host: x␊␊", "400", nil},
	{"a line feed alone in a value", getHead + "X: y␊Z: z\n\n", "400", nil},
	{"a line feed alone in a name", getHead + "X␊: y\n\n", "400", nil},
	{"a line feed alone before the request", "␊GET / HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a carriage return alone behind the request line", "GET / HTTP/1.1\rHost: x\n\n", "400", nil},
	{"a carriage return alone in a value", getHead + "X: y\rz\n\n", "400", nil},
	{"a carriage return alone at the end of a value", getHead + "X: y\r\n\n", "400", nil},
	{"a carriage return alone in a name", getHead + "X\r: y\n\n", "400", nil},
	{"a carriage return alone before a name", getHead + "\rX: y\n\n", "400", nil},
	{"a carriage return alone in the target", "GET /\r HTTP/1.1\nHost: x\n\n", "400", nil},
	{"carriage returns alone", "GET / HTTP/1.1\rHost: x\r\r", "400", nil},
	{"empty lines before the request", "\n\n" + getHead + "\n", "200", []string{getHead + "\n"}},
	{"empty lines without end", strings.Repeat("\n", 50) + getHead + "\n", "400", nil},
	{"an empty line between requests", getHead + "\n" + "\n" + secondRequest, "200 200", []string{getHead + "\n", secondRequest}},
}

var corpusFieldLines = []hostile{
	{"NUL in a value", getHead + "X: a\x00b\n\n", "400", nil},
	{"NUL in a name", getHead + "X\x00: a\n\n", "400", nil},
	{"a control byte in a value", getHead + "X: a\x01b\n\n", "400", nil},
	{"an escape in a value", getHead + "X: \x1b[31m\n\n", "400", nil},
	{"DEL in a value", getHead + "X: a\x7fb\n\n", "400", nil},
	{"a backspace in a name", getHead + "X\b: a\n\n", "400", nil},
	{"a byte above ASCII in a name", getHead + "X\xe9: a\n\n", "400", nil},
	{"a space before the colon", getHead + "X : y\n\n", "400", nil},
	{"a tab before the colon", getHead + "X\t: y\n\n", "400", nil},
	{"a space in a name", getHead + "X Y: z\n\n", "400", nil},
	{"a space before Host's colon", "GET / HTTP/1.1\nHost : x\n\n", "400", nil},
	{"a folded line", getHead + "X: y\n z\n\n", "400", nil},
	{"a line folded with a tab", getHead + "X: y\n\tz\n\n", "400", nil},
	{"a folded empty line", getHead + "X: y\n \n\n", "400", nil},
	{"a folded first line", "GET / HTTP/1.1\n Host: x\n\n", "400", nil},
	{"a folded Host", "GET / HTTP/1.1\nHost:\n x\n\n", "400", nil},
	{"no colon", getHead + "X\n\n", "400", nil},
	{"no name", getHead + ": y\n\n", "400", nil},
	{"a name in quotes", getHead + "\"X\": y\n\n", "400", nil},
	{"a name with brackets", getHead + "X[]: y\n\n", "400", nil},
	{"a name with a slash", getHead + "X/Y: z\n\n", "400", nil},
	{"an expectation nobody knows", getHead + "Expect: 200-ok\n\n", "417", nil},
}

var corpusHosts = []hostile{
	{"no Host", "GET / HTTP/1.1\n\n", "400", nil},
	{"no Host in HTTP/1.0", "GET / HTTP/1.0\n\n", "200 end", []string{"GET / HTTP/1.1\nHost: UPSTREAM\n\n"}},
	// The hop carries no empty authority, so the upstream's own name stands in.
	{"an empty Host", "GET / HTTP/1.1\nHost:\n\n", "200", []string{"GET / HTTP/1.1\nHost: UPSTREAM\n\n"}},
	{"two Hosts", getHead + "Host: y\n\n", "400", nil},
	{"the same Host twice", getHead + "host: x\n\n", "400", nil},
	{"two Hosts in HTTP/1.0", "GET / HTTP/1.0\nHost: x\nHost: y\n\n", "400", nil},
	{"a list in Host", "GET / HTTP/1.1\nHost: x, y\n\n", "400", nil},
	{"a space in Host", "GET / HTTP/1.1\nHost: x y\n\n", "400", nil},
	{"a path in Host", "GET / HTTP/1.1\nHost: x/y\n\n", "400", nil},
	{"a user in Host", "GET / HTTP/1.1\nHost: u@x\n\n", "400", nil},
	{"a port that is none", "GET / HTTP/1.1\nHost: x:y\n\n", "400", nil},
	{"a port too high", "GET / HTTP/1.1\nHost: x:65536\n\n", "400", nil},
	{"an open bracket in Host", "GET / HTTP/1.1\nHost: [::1\n\n", "400", nil},
	{"a byte above ASCII in Host", "GET / HTTP/1.1\nHost: \xe9\n\n", "400", nil},
	{"Host with a port, in its own case", "GET / HTTP/1.1\nHost: Example.COM:8080\n\n", "200", nil},
	{"Host of IPv6", "GET / HTTP/1.1\nHost: [2001:db8::1]:8080\n\n", "200", nil},
	{"Host that Connection names", "GET / HTTP/1.1\nConnection: Host\nHost: x\n\n", "200", []string{getHead + "\n"}},
	{"absolute-form", "GET http://x:80/a?b HTTP/1.1\nHost: x:80\n\n", "200", nil},
	{"absolute-form against Host", "GET http://y/a HTTP/1.1\nHost: x\n\n", "200", []string{"GET http://y/a HTTP/1.1\nHost: y\n\n"}},
	{"absolute-form without a path", "GET http://x HTTP/1.1\nHost: x\n\n", "200", nil},
	{"absolute-form of https", "GET https://x/ HTTP/1.1\nHost: x\n\n", "200", nil},
	{"absolute-form without Host", "GET http://x/ HTTP/1.1\n\n", "400", nil},
	{"absolute-form beside a bad Host", "GET http://x/ HTTP/1.1\nHost: x y\n\n", "400", nil},
	{"absolute-form with a user", "GET http://u:p@x/ HTTP/1.1\nHost: x\n\n", "400", nil},
	{"absolute-form without authority", "GET http:///a HTTP/1.1\nHost: x\n\n", "400", nil},
	{"absolute-form of another scheme", "GET ftp://x/ HTTP/1.1\nHost: x\n\n", "400", nil},
}

var corpusVersions = []hostile{
	{"HTTP/2.0", "GET / HTTP/2.0\nHost: x\n\n", "505", nil},
	{"HTTP/9.9", "GET / HTTP/9.9\nHost: x\n\n", "505", nil},
	{"HTTP/0.9 by name", "GET / HTTP/0.9\nHost: x\n\n", "505", nil},
	{"HTTP/0.9", "GET /\n", "400", nil},
	{"HTTP/1.2", "GET / HTTP/1.2\nHost: x\n\n", "200", []string{getHead + "\n"}}, // RFC 9110 2.5
	{"HTTP/1.0 that goes on", "GET / HTTP/1.0\nHost: x\nConnection: keep-alive\n\n", "200", []string{getHead + "\n"}},
	{"HTTP/1.10", "GET / HTTP/1.10\nHost: x\n\n", "400", nil},
	{"HTTP/10.1", "GET / HTTP/10.1\nHost: x\n\n", "400", nil},
	{"HTTP/01.1", "GET / HTTP/01.1\nHost: x\n\n", "400", nil},
	{"HTTP/1", "GET / HTTP/1\nHost: x\n\n", "400", nil},
	{"HTTP/1,1", "GET / HTTP/1,1\nHost: x\n\n", "400", nil},
	{"http/1.1", "GET / http/1.1\nHost: x\n\n", "400", nil},
	{"HTTPS/1.1", "GET / HTTPS/1.1\nHost: x\n\n", "400", nil},
	{"a space behind the version", "GET / HTTP/1.1 \nHost: x\n\n", "400", nil},
	{"two spaces before the version", "GET /  HTTP/1.1\nHost: x\n\n", "400", nil},
	{"two spaces before the target", "GET  / HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a space before the method", " GET / HTTP/1.1\nHost: x\n\n", "400", nil},
	{"tabs in the request line", "GET\t/\tHTTP/1.1\nHost: x\n\n", "400", nil},
	{"no target", "GET HTTP/1.1\nHost: x\n\n", "400", nil},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\n\nSM\n\n", "400", nil},
	{"a handshake of TLS", "\x16\x03\x01\x02\x00\x01\x00", "400", nil},
	{"a response", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", "400", nil},
}

var corpusLimits = []hostile{
	{"a target at its limit", "GET /" + strings.Repeat("a", 16<<10-1) + " HTTP/1.1\nHost: x\n\n", "200", nil},
	{"a target over its limit", "GET /" + strings.Repeat("a", 16<<10) + " HTTP/1.1\nHost: x\n\n", "414", nil},
	{"a target without end", "GET /" + strings.Repeat("a", 100<<10), "414", nil},
	{"a head over its limit", getHead + strings.Repeat("X-Filler: "+strings.Repeat("a", 1000)+"\n", 70) + "\n", "431", nil},
	{"a value without end", getHead + "X: " + strings.Repeat("a", 100<<10), "431", nil},
	{"a name over its limit", getHead + strings.Repeat("x", 256) + ": y\n\n", "431", nil},
	{"a name without end", getHead + strings.Repeat("x", 100<<10), "431", nil},
	{"as many fields as may be", getHead + strings.Repeat("X: y\n", 254) + "\n", "200", nil},
	// Those that a proxy adds count too; a head in order does not end the connection.
	{"one field too many", getHead + strings.Repeat("X: y\n", 255) + "\n", "431 on", nil},
	{"too many fields", getHead + strings.Repeat("X: y\n", 300) + "\n", "431", nil},
	{"a method over its limit", strings.Repeat("M", 65) + " / HTTP/1.1\nHost: x\n\n", "501", nil},
	{"16 KiB of cookies", getHead + "Cookie: " + strings.Repeat("a=bcdef; ", 16<<10/9) + "z=1\n\n", "200", nil},
	{"16 KiB of cookies on 16 lines", getHead + strings.Repeat("Cookie: a="+strings.Repeat("b", 1014)+"\n", 16) + "\n", "200", nil},
	{"60 KiB in one value", getHead + "X: " + strings.Repeat("a", 60<<10) + "\n\n", "200", nil},
	{"60 KiB of Authorization", getHead + "Authorization: " + strings.Repeat("a", 60<<10) + "\n\n", "200", nil},
	{"a whole head of 64 KiB and a body", postHead + "X: " + strings.Repeat("a", 64<<10-80) + "\nContent-Length: 33\n\n" + hiddenRequest, "200", nil},
}

var corpusTargets = corpusGroup("target ", "200", func(target string) string { return "GET " + target + " HTTP/1.1\nHost: x\n\n" },
	"//", "//a//b//", "/./", "/../..", "/a/../b", "/%2F", "/%2f%2e%2e%2f", "/;", "/a;b=c;d", "/%41", "/%", "/%zz", "/%00", "/%0d%0a", "/?", "/??",
	"/?a=b&a=c&&", "/a?b#c", "/a\\b", "/\"<>^`{|}", "/é", "/\xff", "/a:b@c", "/*", "/http://y/", "http://x//?", "http://x?a",
)

var corpusMethods = slices.Concat([]hostile{
	{"HEAD", "HEAD / HTTP/1.1\nHost: x\n\n", "200", nil},
	{"OPTIONS *", "OPTIONS * HTTP/1.1\nHost: x\n\n", "200", nil},
	{"GET *", "GET * HTTP/1.1\nHost: x\n\n", "400", nil},
	{"OPTIONS **", "OPTIONS ** HTTP/1.1\nHost: x\n\n", "400", nil},
	{"CONNECT", "CONNECT x:443 HTTP/1.1\nHost: x:443\n\n", "501", nil},
	{"authority-form with GET", "GET x:443 HTTP/1.1\nHost: x:443\n\n", "400", nil},
	{"a target without a slash", "GET a HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a query without a slash", "GET ?a HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a space in the target", "GET /a b HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a tab in the target", "GET /a\tb HTTP/1.1\nHost: x\n\n", "400", nil},
	{"NUL in the target", "GET /a\x00b HTTP/1.1\nHost: x\n\n", "400", nil},
	{"DEL in the target", "GET /a\x7fb HTTP/1.1\nHost: x\n\n", "400", nil},
	{"NUL in the method", "GE\x00T / HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a method that is no token", "GE(T / HTTP/1.1\nHost: x\n\n", "400", nil},
	{"a method with a colon", "GET: / HTTP/1.1\nHost: x\n\n", "400", nil},
}, corpusGroup("method ", "200", func(method string) string { return method + " / HTTP/1.1\nHost: x\n\n" },
	"DELETE", "PUT", "PATCH", "TRACE", "PROPFIND", "M-SEARCH", "BREW", "get", "Get", "X", "!#$%&'*+-.^_`|~9", strings.Repeat("M", 64),
))

var corpusFidelity = []hostile{
	{"the order and case of names", getHead + "z: 1\nA: 2\nx-LOWER: 3\nACCEPT: */*\naccept-encoding: br\nUser-Agent: t\n\n", "200", nil},
	{"duplicates", getHead + "X: 1\nY: 2\nX: 1\nx: 3\nCookie: a\nCookie: b\n\n", "200", nil},
	{"empty values", getHead + "X: \nAccept: \nCookie: \n\n", "200", nil},
	{"spaces around values", getHead + "X:y\nX:  \t y \t\nX:\nX: \t\n\n", "200", []string{getHead + "X: y\nX: y\nX: \nX: \n\n"}},
	{"spaces, tabs and bytes above ASCII in values", getHead + "X: a  b\tc\nX: \x80\xff é\nX: \",;=\\\n\n", "200", nil},
	{"Host behind other fields", "GET / HTTP/1.1\nA: b\nhOsT: x\nC: d\n\n", "200", []string{getHead + "A: b\nC: d\n\n"}},
	{"names that programs make of others", getHead + "X_Y: 1\nX.Y: 2\nX-Y: 3\nProxy: http://y\n\n", "200", nil},
	{"a length in its place, in its case", postHead + "A: b\ncontent-LENGTH: 5\nC: d\n\nhello", "200", nil},
	{"GET with a body", getHead + "Content-Length: 5\n\nhello", "200", nil},
	{"DELETE with a body", "DELETE / HTTP/1.1\nHost: x\nContent-Length: 5\n\nhello", "200", nil},
	{"POST without a length", postHead + "\n", "200", nil},
	{"a body of all bytes", postHead + "Content-Length: 8\n\n\x00\x01\r\x7f\x80\xff a", "200", nil},
	{"Range, If-None-Match and their like", getHead + "Range: bytes=0-1,5-\nIf-None-Match: W/\"a\", \"b\"\nAuthorization: Basic eDp5\n\n", "200", nil},
	{"method overrides stay fields", postHead + "X-HTTP-Method-Override: DELETE\nX-Original-URL: /y\nX-Forwarded-Host: y\n\n", "200", nil},
}

// What concerns one connection stays on it.
var corpusHops = []hostile{
	{"fields of one hop", getHead + "Keep-Alive: timeout=5\nProxy-Connection: keep-alive\nTE: trailers\nProxy-Authorization: Basic eDp5\nUpgrade: h2c\nHTTP2-Settings: AA\nX: y\n\n", "200",
		[]string{getHead + "X: y\n\n"}},
	{"fields that Connection names", getHead + "Connection: keep-alive, x-Hop ,, Y\nX-Hop: 1\nX: 2\ny: 3\n\n", "200", []string{getHead + "X: 2\n\n"}},
	{"a length that Connection names", postHead + "Connection: Content-Length\nContent-Length: 33\n\n" + hiddenRequest, "200", withLength("33", hiddenRequest)},
	{"cookies that Connection names", getHead + "Connection: Cookie\nCookie: a=b\n\n", "200", []string{getHead + "\n"}},
	{"too many connection options", getHead + "Connection: " + strings.Repeat("x,", 40) + "x\n\n", "431", nil},
	{"a request to upgrade that Connection does not name", getHead + "Upgrade: websocket\n\n", "200", []string{getHead + "\n"}},
	// A body comes before any other protocol (RFC 9110 7.8), so these go without.
	{"an upgrade with a body", postHead + "Connection: Upgrade\nUpgrade: h2c\nContent-Length: 5\n\nhello", "200", withLength("5", "hello")},
	{"an upgrade with chunks", postHead + "Connection: Upgrade\nUpgrade: h2c\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"an upgrade in HTTP/1.0", "GET / HTTP/1.0\nHost: x\nConnection: Upgrade\nUpgrade: websocket\n\n", "200 end", []string{getHead + "\n"}},
	{"an expectation without a body", getHead + "Expect: 100-continue\n\n", "200", []string{getHead + "\n"}},
	{"an expectation twice", postHead + "Expect: 100-continue\nExpect: 100-Continue\nContent-Length: 5\n\nhello", "200", withLength("5", "hello")},
	{"an expectation of a body in chunks", postHead + "Expect: 100-continue\nTransfer-Encoding: chunked\n\n5\nhello\n0\n\n", "200", withLength("5", "hello")},
	{"an expectation in HTTP/1.0", "POST / HTTP/1.0\nHost: x\nExpect: 100-continue\nContent-Length: 5\n\nhello", "200 end", withLength("5", "hello")},
}

// corpusGroup makes a line of the corpus of each variant.
func corpusGroup(name, want string, send func(string) string, variants ...string) (all []hostile) {
	for _, v := range variants {
		all = append(all, hostile{name + v, send(v), want, nil})
	}
	return all
}
