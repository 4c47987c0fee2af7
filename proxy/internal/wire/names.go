package wire

import "bytes"

// staticNames are section 4's static names, the first of them number 1.
var staticNames = [...]string{
	":authority", "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Accept-Ranges",
	"Access-Control-Allow-Origin", "Age", "Allow", "Authorization", "Cache-Control", "Content-Disposition",
	"Content-Encoding", "Content-Language", "Content-Length", "Content-Range", "Content-Security-Policy",
	"Content-Type", "Cookie", "Date", "ETag", "Expect", "Expires", "Forwarded", "From", "If-Match",
	"If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Last-Modified", "Link",
	"Location", "Max-Forwards", "Origin", "Pragma", "Proxy-Authenticate", "Range", "Referer",
	"Referrer-Policy", "Retry-After", "Sec-Fetch-Dest", "Sec-Fetch-Mode", "Sec-Fetch-Site", "Server",
	"Set-Cookie", "Strict-Transport-Security", "TE", "Trailer", "Upgrade", "Upgrade-Insecure-Requests",
	"User-Agent", "Vary", "Via", "Warning", "WWW-Authenticate", "X-Api-Key", "X-Auth-Token",
	"X-Content-Type-Options", "X-Csrf-Token", "X-Amz-Security-Token", "X-Forwarded-For",
	"X-Forwarded-Host", "X-Forwarded-Proto", "X-Frame-Options", "X-Openrtb-Version", "X-Powered-By",
	"X-Real-Ip", "X-Request-Id", "traceparent", "tracestate",
}

// secretNames hold what lets others in; forbiddenNames are of one HTTP/1 connection, or, Host,
// carried as the authority.
var (
	secretNames = [...]string{
		"Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "X-Auth-Token", "X-Csrf-Token",
		"X-Amz-Security-Token",
	}
	forbiddenNames = [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Host"}
)

const (
	staticAuthority     = 1
	staticAuthorization = 10
	staticContentLength = 15
)

type rule uint8

const (
	ruleSecret    rule = 1 << iota
	ruleForbidden      // never carried
	ruleLength         // Content-Length
	rulePseudo         // :authority
	ruleBasic          // Authorization, whose Basic scheme is a guessable password
)

// name is what the codec knows about a field's name, in any case.
type name struct {
	text   []byte // immutable
	static uint32 // the name's number, 0 if it has none
	rules  rule
}

// names[n] is static name n; the forbidden ones follow. nameTable finds them by nameHash.
var names, nameTable = makeNames()

func makeNames() (list []name, table [256]uint8) {
	list = make([]name, 1, 1+len(staticNames)+len(forbiddenNames)) // names[0] is nobody
	for i, s := range staticNames {
		list = append(list, name{text: []byte(s), static: uint32(i + 1)})
	}
	list[staticAuthority].rules = rulePseudo
	list[staticAuthorization].rules = ruleBasic
	list[staticContentLength].rules = ruleLength
	for i := range list {
		for _, s := range secretNames {
			if string(list[i].text) == s {
				list[i].rules |= ruleSecret
			}
		}
	}
	for _, s := range forbiddenNames {
		list = append(list, name{text: []byte(s), rules: ruleForbidden})
	}
	for i := range list[1:] {
		h := nameHash(list[i+1].text)
		for table[h] != 0 {
			h++
		}
		table[h] = uint8(i + 1)
	}
	return list, table
}

// nameHash is the same in any case: of the length and three bytes. The factor was found by trying: only
// names that agree in all four share a place, two pairs of them.
func nameHash(p []byte) uint8 {
	n := len(p)
	x := uint32(uint8(n)) | uint32(p[0]|0x20)<<8 | uint32(p[n/2]|0x20)<<16 | uint32(p[n-1]|0x20)<<24
	return uint8(x * 0xe58a3ec5 >> 24)
}

// findName returns what is known of a name in any case, or names[0].
func findName(p []byte) *name {
	if len(p) == 0 {
		return &names[0]
	}
	for h := nameHash(p); nameTable[h] != 0; h++ {
		n := &names[nameTable[h]]
		if bytes.Equal(n.text, p) || equalFold(n.text, p) {
			return n
		}
	}
	return &names[0]
}

// IsForbidden reports whether a field of this name, in any case, is never carried: those of the
// HTTP/1 connection, and Host, which is the authority.
func IsForbidden(fieldName []byte) bool { return findName(fieldName).rules&ruleForbidden != 0 }

func isContentLength(p []byte) bool {
	return len(p) == len("Content-Length") && p[0]|0x20 == 'c' && equalFold(p, names[staticContentLength].text)
}

// isBasic reports whether an Authorization value is of the Basic scheme.
func isBasic(value []byte) bool {
	return len(value) >= 5 && equalFold(value[:5], []byte("basic"))
}
