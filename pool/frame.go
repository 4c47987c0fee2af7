package pool

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// appendFrameHeader appends the 9 bytes of RFC 9113 4.1.
func appendFrameHeader(dst []byte, length int, typ http2.FrameType, flags http2.Flags, id uint32) []byte {
	return append(dst, byte(length>>16), byte(length>>8), byte(length), byte(typ), byte(flags),
		byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
}

func appendData(dst []byte, id uint32, p []byte, end bool) []byte {
	var flags http2.Flags
	if end {
		flags = http2.FlagDataEndStream
	}
	return append(appendFrameHeader(dst, len(p), http2.FrameData, flags, id), p...)
}

func appendWindowUpdate(dst []byte, id, n uint32) []byte {
	dst = appendFrameHeader(dst, 4, http2.FrameWindowUpdate, 0, id)
	return binary.BigEndian.AppendUint32(dst, n)
}

func appendReset(dst []byte, id uint32, code Code) []byte {
	dst = appendFrameHeader(dst, 4, http2.FrameRSTStream, 0, id)
	return binary.BigEndian.AppendUint32(dst, uint32(code))
}

func appendPing(dst []byte, ack bool, data [8]byte) []byte {
	var flags http2.Flags
	if ack {
		flags = http2.FlagPingAck
	}
	return append(appendFrameHeader(dst, 8, http2.FramePing, flags, 0), data[:]...)
}

func appendGoAway(dst []byte, last uint32, code Code, debug string) []byte {
	dst = appendFrameHeader(dst, 8+len(debug), http2.FrameGoAway, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, last)
	dst = binary.BigEndian.AppendUint32(dst, uint32(code))
	return append(dst, debug...)
}

func appendSettings(dst []byte, settings ...http2.Setting) []byte {
	dst = appendFrameHeader(dst, 6*len(settings), http2.FrameSettings, 0, 0)
	for _, s := range settings {
		dst = binary.BigEndian.AppendUint16(dst, uint16(s.ID))
		dst = binary.BigEndian.AppendUint32(dst, s.Val)
	}
	return dst
}

func appendSettingsAck(dst []byte) []byte {
	return appendFrameHeader(dst, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
}
