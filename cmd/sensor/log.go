package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// logger writes to standard error, each entry one escaped line.
func (a *app) logger() (*zap.Logger, error) {
	enc := zapcore.NewConsoleEncoder(zap.NewDevelopmentEncoderConfig())
	return newLogger(enc, escapingWriter{a.stderr}, a.logLevel.value)
}

var logFormats = []string{"text", "json"}

// daemonLogger is the logger of what runs for long: without a flag it tells more,
// and the journal, which has times and levels of its own, gets no second ones.
func (a *app) daemonLogger(format string, levelGiven bool) (*zap.Logger, error) {
	level := a.logLevel.value
	if !levelGiven {
		level = "info"
	}
	conf := zap.NewProductionEncoderConfig()
	conf.CallerKey, conf.StacktraceKey = "", ""
	conf.EncodeTime = zapcore.RFC3339NanoTimeEncoder
	conf.EncodeDuration = zapcore.StringDurationEncoder
	switch {
	case format == "json":
		return newLogger(zapcore.NewJSONEncoder(conf), jsonWriter{a.stderr}, level)
	case toJournal(a.stderr, a.getenv("JOURNAL_STREAM")):
		conf.TimeKey, conf.LevelKey = "", ""
		return newLogger(journalEncoder{zapcore.NewConsoleEncoder(conf)}, escapingWriter{a.stderr}, level)
	}
	conf.EncodeLevel = zapcore.CapitalLevelEncoder
	return newLogger(zapcore.NewConsoleEncoder(conf), escapingWriter{a.stderr}, level)
}

func newLogger(enc zapcore.Encoder, w io.Writer, level string) (*zap.Logger, error) {
	l, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, err
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), l)), nil
}

// toJournal reports whether w is the connection to the journal that the variable
// JOURNAL_STREAM names by "device:inode" (systemd.exec(5)).
func toJournal(w io.Writer, stream string) bool {
	f, ok := w.(*os.File)
	if !ok || stream == "" {
		return false
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false
	}
	return fmt.Sprintf("%d:%d", st.Dev, st.Ino) == stream
}

// journalEncoder puts the priority before each line as sd-daemon(3) has it, which
// the journal takes away again.
type journalEncoder struct{ zapcore.Encoder }

func (e journalEncoder) Clone() zapcore.Encoder { return journalEncoder{e.Encoder.Clone()} }

func (e journalEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return nil, err
	}
	text := line.String()
	line.Reset()
	line.AppendString(fmt.Sprintf("<%d>%s", priority(entry.Level), text))
	return line, nil
}

// priority is a level as syslog(3) counts.
func priority(l zapcore.Level) int {
	switch {
	case l >= zapcore.DPanicLevel:
		return 2
	case l == zapcore.ErrorLevel:
		return 3
	case l == zapcore.WarnLevel:
		return 4
	case l == zapcore.InfoLevel:
		return 6
	}
	return 7
}

// jsonWriter escapes in JSON what could drive a terminal, as JSON has it (RFC
// 8259, 7). Such characters stand only within strings.
type jsonWriter struct{ w io.Writer }

func (j jsonWriter) Write(p []byte) (int, error) {
	var b strings.Builder
	for _, r := range string(p) {
		switch {
		case r == '\n' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	if _, err := io.WriteString(j.w, b.String()); err != nil {
		return 0, err
	}
	return len(p), nil
}
