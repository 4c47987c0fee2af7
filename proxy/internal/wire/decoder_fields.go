package wire

// place is where fields stand, which decides how a Content-Length may be told.
type place uint8

const (
	inBodyless place = iota // the record has no body, or it follows: by a literal
	inWhole                 // by the body's length
	inTrailers              // not at all
)

func placeOf(flags byte) place {
	if k := flags & bodyMask; k == bodyShared || k == bodyRaw {
		return inWhole
	}
	return inBodyless
}

// fields appends the fields that come next to dst, at most as many as the limits allow. Those over a
// limit are decoded like the others, for the dictionary's sake, and left out.
func (d *Decoder) fields(dst []Field, at place) []Field {
	n := d.varint()
	if uint64(n) > uint64(d.end-d.pos) { // a field takes a byte at least
		d.fail("more fields than bytes")
		return dst
	}
	for ; n > 0 && d.err == nil; n-- {
		tag := d.varint()
		if tag&7 != kindIndexed {
			dst = d.literal(dst, tag, at)
			continue
		}
		f := d.indexed(tag >> 3)
		if f == nil {
			return dst
		}
		if f.Name[0] == ':' {
			d.fail("authority among the fields")
			return dst
		}
		if d.isWithin(f) {
			dst = append(dst, *f)
		}
	}
	return dst
}

// isWithin counts a field and reports whether the limits still allow it.
func (d *Decoder) isWithin(f *Field) bool {
	d.fieldCount++
	d.countBytes(len(f.Name) + len(f.Value))
	if d.fieldCount > d.limits.Fields {
		d.over = OverFields
	}
	return d.over == OverNone
}

func (d *Decoder) countBytes(n int) {
	if d.over != OverNone {
		return // and the sum cannot overflow
	}
	if d.fieldBytes += n; d.fieldBytes > d.limits.FieldBytes {
		d.over = OverFields
	}
}

func (d *Decoder) indexed(n uint32) *Field {
	i := d.dict.find(n)
	if i == 0 {
		d.fail("no such entry")
		return nil
	}
	d.dict.touch(i)
	return &d.dict.slots[i].field
}

// authority takes the one field that stands in the authority's place.
func (d *Decoder) authority() []byte {
	switch tag := d.varint(); tag {
	case staticAuthority<<3 | kindLiteral, staticAuthority<<3 | kindLiteralInsert:
		known := &names[staticAuthority]
		f := Field{Name: known.text, Value: d.bytes()}
		if !IsValue(f.Value) {
			d.fail("bad authority")
		}
		if tag&7 == kindLiteralInsert {
			d.insert(&f, known)
		}
		d.countBytes(len(f.Value))
		return f.Value
	default:
		if tag&7 != kindIndexed {
			break
		}
		f := d.indexed(tag >> 3)
		if f == nil || f.Name[0] != ':' {
			break
		}
		d.countBytes(len(f.Value))
		return f.Value
	}
	d.fail("no authority")
	return nil
}

// literal appends to dst the field that a tag of kind 1 to 5 begins.
func (d *Decoder) literal(dst []Field, tag uint32, at place) []Field {
	kind := tag & 7
	f, known := d.name(tag >> 3)
	if d.err != nil {
		return dst
	}
	switch {
	case known.rules&ruleLength != 0 || kind == kindLength:
		return d.contentLength(dst, f.Name, known, kind, at)
	case kind == kindLiteral || kind == kindLiteralInsert:
		if known.rules&ruleSecret != 0 {
			d.fail("secret in the shared section")
		}
		f.Value = d.bytes()
	case kind == kindSecret || kind == kindSecretInsert:
		f.Secret = true
		f.Value = d.takeRaw(d.varint())
		if kind == kindSecretInsert && !isReferable(known, f.Value) {
			d.fail("guessable secret inserted")
		}
	default:
		d.fail("unknown kind of field")
	}
	if !IsValue(f.Value) {
		d.fail("bad value")
	}
	if d.err != nil {
		return dst
	}
	if kind == kindLiteralInsert || kind == kindSecretInsert {
		d.insert(&f, known)
	}
	if d.isWithin(&f) {
		dst = append(dst, f)
	}
	return dst
}

// name takes the name of a literal: static name n, or if that is 0 the one given.
func (d *Decoder) name(n uint32) (f Field, known *name) {
	switch {
	case n == 0:
		f.Name = d.bytes()
		if len(f.Name) > maxName || !IsToken(f.Name) {
			d.fail("bad name")
			return f, nil
		}
		known = findName(f.Name)
	case n <= uint32(len(staticNames)):
		known = &names[n]
		f.Name = known.text
	default:
		d.fail("no such static name")
		return f, nil
	}
	if known.rules&(ruleForbidden|rulePseudo) != 0 {
		d.fail("forbidden name")
	}
	return f, known
}

// contentLength takes a Content-Length. Two of them, or one besides the length of a body that is
// here, would let one end see another message than the other.
func (d *Decoder) contentLength(dst []Field, fieldName []byte, known *name, kind uint32, at place) []Field {
	f := Field{Name: fieldName}
	switch {
	case known.rules&ruleLength == 0:
		d.fail("length by another name")
	case d.hasLength:
		d.fail("two lengths")
	case kind == kindLength && at == inWhole:
		if d.isWithin(&f) {
			d.lengthAt = len(dst)
			dst = append(dst, f)
		}
	case kind == kindLiteral && at == inBodyless:
		f.Value = d.bytes()
		if len(f.Value) == 0 || !isAll(f.Value, classDigit) {
			d.fail("bad length")
		}
		if d.isWithin(&f) {
			dst = append(dst, f)
		}
	default:
		d.fail("length of this kind here")
	}
	d.hasLength = true
	return dst
}

// insert copies a field into the dictionary.
func (d *Decoder) insert(f *Field, known *name) {
	size := entrySize(f.Name, f.Value)
	if d.err != nil {
		return
	}
	if !d.dict.hasRoomFor(size) {
		d.fail("entry too large for the dictionary")
		return
	}
	for i := d.dict.victim(size); i != 0; i = d.dict.victim(size) {
		d.dict.evict(i)
	}
	d.dict.insert(f, known, f.Secret)
}
