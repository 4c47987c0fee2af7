package wire

// Kinds of fields.
const (
	kindIndexed       = 0
	kindLiteral       = 1
	kindLiteralInsert = 2
	kindSecret        = 3
	kindSecretInsert  = 4
	kindLength        = 5
)

// appendFields appends the count and the fields to p, which is b.Shared, and secret values to b.Raw.
func (e *Encoder) appendFields(p []byte, b *Batch, fields []Field, flags byte) []byte {
	p = appendVarint(p, uint32(len(fields)))
	hasBody := flags&bodyMask == bodyShared || flags&bodyMask == bodyRaw
	for i := range fields {
		f := &fields[i]
		if isContentLength(f.Name) {
			p = appendContentLength(p, f, hasBody)
		} else {
			p = e.appendField(p, b, f)
		}
	}
	return p
}

// appendField looks for the field in the dictionary before it asks what kind of name it has: on
// a stream in use most are there.
func (e *Encoder) appendField(p []byte, b *Batch, f *Field) []byte {
	if e.index.limits.Entries <= 0 {
		return e.appendLiteral(p, b, f, 0, false)
	}
	h := e.index.hash(f)
	if i := e.index.lookup(h, f); i != 0 {
		e.index.touch(i)
		return appendVarint(p, (i-1)<<3|kindIndexed)
	}
	return e.appendLiteral(p, b, f, h, e.index.isRepeated(h))
}

func (e *Encoder) appendLiteral(p []byte, b *Batch, f *Field, h uint64, isRepeated bool) []byte {
	known := findName(f.Name)
	isSecretName := known.rules&ruleSecret != 0 || len(e.secrets) > 0 && e.isExtraSecret(f.Name)
	isSecret := f.Secret || isSecretName
	inserts := isRepeated && e.index.hasRoomFor(entrySize(f.Name, f.Value))

	var kind uint32
	switch {
	case isSecret:
		inserts = inserts && isReferable(known, f.Value)
		kind = kindSecret
		if inserts {
			kind = kindSecretInsert
		}
	case inserts:
		kind = kindLiteralInsert
	default:
		kind = kindLiteral
	}
	p = appendName(p, f.Name, known, kind)
	if isSecret {
		p = appendVarint(p, uint32(len(f.Value)))
		b.Raw = append(b.Raw, f.Value...)
	} else {
		p = appendBytes(p, f.Value)
	}
	if inserts {
		e.index.insert(h, f, known, isSecret, isSecret && !isSecretName)
	}
	return p
}

// appendContentLength appends a Content-Length, which never enters the dictionary: with a body in
// the record it takes a byte, without one it seldom repeats, and a reference could contradict the body.
func appendContentLength(p []byte, f *Field, hasBody bool) []byte {
	known := &names[staticContentLength]
	if hasBody {
		return appendName(p, f.Name, known, kindLength)
	}
	return appendBytes(appendName(p, f.Name, known, kindLiteral), f.Value)
}

// appendName appends the tag and, unless the name is static in exactly this case, the name.
func appendName(p, fieldName []byte, known *name, kind uint32) []byte {
	if known.static != 0 && string(known.text) == string(fieldName) {
		return appendVarint(p, known.static<<3|kind)
	}
	return appendBytes(append(p, byte(kind)), fieldName)
}

// isReferable reports whether a secret value may enter the dictionary. A reference tells that the
// whole value is equal to one sent before, so the value must be too long, and of a scheme too
// random, to be guessed.
func isReferable(known *name, value []byte) bool {
	return len(value) >= minIndexedSecret && !(known.rules&ruleBasic != 0 && isBasic(value))
}

func (e *Encoder) isExtraSecret(fieldName []byte) bool {
	if len(fieldName) > maxName {
		return false // no name of the configuration is so long, nor may the protocol carry it
	}
	var folded [maxName]byte
	for i, c := range fieldName {
		folded[i] = lower(c)
	}
	_, isSecret := e.secrets[string(folded[:len(fieldName)])]
	return isSecret
}
