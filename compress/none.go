package compress

// noneCodec is both ends of codec 0.
type noneCodec struct{}

func (noneCodec) encode(dst, src []byte) ([]byte, error) { return append(dst, src...), nil }

func (noneCodec) decode(dst, src []byte, plain int) ([]byte, error) {
	if len(src) < plain {
		return nil, errShort
	}
	if len(src) > plain {
		return nil, errExcess
	}
	return append(dst, src...), nil
}

func (noneCodec) reset() {}
