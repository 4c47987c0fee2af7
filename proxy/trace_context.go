package proxy

import (
	"math/rand/v2"
	"slices"

	"github.com/h2tp/h2tp/proxy/internal/wire"
)

// TraceContext says what is done with the field traceparent of W3C Trace Context.
type TraceContext uint8

const (
	// TracePass passes it on as any field.
	TracePass TraceContext = iota
	// TraceContinue puts an id made for the exchange here in the parent's place, where there is a valid one: programs behind
	// see this process in the trace. The access log has the field as it was passed on.
	TraceContinue
	// TraceStart also begins a trace, sampled, where there is no valid one.
	TraceStart
)

// Of a traceparent: version 2, trace-id 32, parent-id 16 and flags 2 digits, joined by dashes.
const (
	traceIDAt   = 3
	parentIDAt  = 36
	traceFlags  = 53
	traceLength = 55
)

// apply changes the fields of a request; what was in them stays untouched memory.
func (t TraceContext) apply(fields []wire.Field) []wire.Field {
	at, n := -1, 0
	for i := range fields {
		if isName(fields[i].Name, "traceparent") {
			at = i
			n++
		}
	}
	value := make([]byte, 0, traceLength)
	if n == 1 && isTraceparent(fields[at].Value) { // two are not valid
		from := fields[at].Value
		value = append(append(value, "00-"...), from[traceIDAt:parentIDAt]...)
		value = append(appendHex(value, randomID()), '-')
		if string(from[:2]) == "00" {
			value = append(value, from[traceFlags:traceLength]...)
		} else { // of other versions only the sampled flag is known
			value = append(value, '0', "01"[hexValue(from[traceFlags+1])&1])
		}
		fields[at].Value = value
		return fields
	}
	if t != TraceStart {
		return fields
	}
	fields = slices.DeleteFunc(fields, func(f wire.Field) bool {
		return isName(f.Name, "traceparent") || isName(f.Name, "tracestate") // its state is that of another trace
	})
	value = appendHex(appendHex(append(value, "00-"...), randomID()), randomID())
	value = append(appendHex(append(value, '-'), randomID()), "-01"...)
	return append(fields, wire.Field{Name: nameTraceparent, Value: value})
}

// isTraceparent checks version 00, and of later ones what all begin with.
func isTraceparent(v []byte) bool {
	if len(v) < traceLength || v[2] != '-' || v[parentIDAt-1] != '-' || v[traceFlags-1] != '-' {
		return false
	}
	version := string(v[:2])
	if version == "ff" || len(v) > traceLength && (version == "00" || v[traceLength] != '-') {
		return false
	}
	return isHex(v[:2]) && isHex(v[traceFlags:traceLength]) && isID(v[traceIDAt:parentIDAt-1]) && isID(v[parentIDAt:traceFlags-1])
}

// isID takes lower-case digits that are not all zero.
func isID(v []byte) bool {
	return isHex(v) && slices.ContainsFunc(v, func(c byte) bool { return c != '0' })
}

func isHex(v []byte) bool {
	return !slices.ContainsFunc(v, func(c byte) bool { return (c < '0' || c > '9') && (c < 'a' || c > 'f') })
}

func hexValue(c byte) byte {
	if c >= 'a' {
		return c - 'a' + 10
	}
	return c - '0'
}

// randomID is one that nobody else has; not a secret, and not zero.
func randomID() uint64 { return max(1, rand.Uint64()) }

func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}
