package kernel

// grubWord is a word of GRUB's script language.
type grubWord struct {
	text   string // without quotes; what a variable would give stands there as it is written
	vars   bool   // it has variables
	quoted bool   // some of it was quoted, so it is no keyword
}

// is reports whether the word is the keyword k.
func (w grubWord) is(k string) bool { return !w.quoted && w.text == k }

// grubLexer divides a script into commands (GNU GRUB manual, "Writing full
// configuration files directly"; grub-core/script/yylex.l).
type grubLexer struct {
	data string
	pos  int
}

// maxGrubWords bounds the words of one command.
const maxGrubWords = 1024

// command returns the words up to the end of a line or a semicolon, which may be
// none, and false at the end of the script. The offset of an error is where the
// command begins.
func (l *grubLexer) command() (words []grubWord, ok bool, err error) {
	if l.pos >= len(l.data) {
		return nil, false, nil
	}
	start := int64(l.pos)
	for l.pos < len(l.data) {
		switch c := l.data[l.pos]; {
		case c == '\n' || c == ';':
			l.pos++
			return words, true, nil
		case c == ' ' || c == '\t' || c == '\r':
			l.pos++
		case c == '\\' && l.pos+1 < len(l.data) && l.data[l.pos+1] == '\n':
			l.pos += 2
		case c == '#':
			for l.pos < len(l.data) && l.data[l.pos] != '\n' {
				l.pos++
			}
		default:
			if len(words) == maxGrubWords {
				return nil, false, errorAt(start, "command of more than %d words", maxGrubWords)
			}
			w, closed := l.word()
			if !closed {
				return nil, false, errorAt(start, "no closing quote")
			}
			words = append(words, w)
		}
	}
	return words, true, nil
}

// word reads one word; closed is false when a quote is open at the end.
func (l *grubLexer) word() (w grubWord, closed bool) {
	var text []byte
	var quote byte
	for ; l.pos < len(l.data); l.pos++ {
		c := l.data[l.pos]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote == '\'':
			text = append(text, c)
		case c == '\\' && l.pos+1 < len(l.data):
			next := l.data[l.pos+1]
			if quote == '"' && next != '"' && next != '\\' && next != '$' && next != '\n' {
				text = append(text, c)
				continue
			}
			l.pos++
			if next != '\n' {
				text = append(text, next)
				w.quoted = true
			}
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
			w.quoted = true
		case quote == 0 && (c == '\n' || c == ';' || c == ' ' || c == '\t' || c == '\r'):
			w.text = string(text)
			return w, true
		default:
			w.vars = w.vars || c == '$'
			text = append(text, c)
		}
	}
	w.text = string(text)
	return w, quote == 0
}
