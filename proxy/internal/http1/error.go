package http1

// Error is why a message was refused. Those of requests carry the status for the client;
// those of responses are 502. Chunked bodies go both ways: their errors are 400 or 431.
type Error struct {
	Status int
	Msg    string // for logs and the client: constant, no bytes of the message
}

func (e *Error) Error() string { return "http1: " + e.Msg }

// One value each, so that hostile bytes cost no memory.
var (
	errLeading     = &Error{400, "too many empty lines before the request"}
	errTLS         = &Error{400, "a TLS handshake on a plain port"}
	errPreface     = &Error{400, "HTTP/2 on an HTTP/1.1 port"}
	errMethod      = &Error{400, "malformed method"}
	errMethodLong  = &Error{501, "method too long"}
	errConnect     = &Error{501, "CONNECT is not carried"}
	errTarget      = &Error{400, "malformed request target"}
	errTargetLong  = &Error{414, "request target too long"}
	errRequestLine = &Error{400, "malformed request line"}
	errVersion     = &Error{505, "HTTP version not supported"}
	errStatusLine  = &Error{400, "malformed status line"}

	errHead       = &Error{431, "head too large"}
	errCount      = &Error{431, "too many fields"}
	errNameLong   = &Error{431, "field name too long"}
	errNamed      = &Error{431, "too many connection options"}
	errFold       = &Error{400, "folded field line"}
	errName       = &Error{400, "malformed field name"}
	errSpaceColon = &Error{400, "space before the colon of a field"}
	errValue      = &Error{400, "control byte in a field value"}
	errBareCR     = &Error{400, "carriage return without line feed"}
	errBareLF     = &Error{400, "line feed without carriage return"}

	errHosts     = &Error{400, "not exactly one Host"}
	errAuthority = &Error{400, "malformed authority"}
	errLength    = &Error{400, "malformed Content-Length"}
	errLengths   = &Error{400, "more than one Content-Length"}
	errCoding    = &Error{400, "Transfer-Encoding is not chunked, once"}
	errCoding10  = &Error{400, "Transfer-Encoding in HTTP/1.0"}
	errBoth      = &Error{400, "Transfer-Encoding beside Content-Length"}
	errExpect    = &Error{417, "unknown expectation"}

	errChunkSize = &Error{400, "malformed chunk size"}
	errChunkBig  = &Error{400, "chunk size too large"}
	errChunkExt  = &Error{400, "malformed or too long chunk extension"}
	errChunkEnd  = &Error{400, "chunk data without its line end"}
)

// inResponse gives e the status a client sees when its upstream is at fault.
func inResponse(e *Error) *Error { return &Error{502, e.Msg} }
