package httpapi

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// logEntry is what is known about a request when it is logged.
type logEntry struct {
	id     string
	method string
	route  *Route
	caller principal
	params any
	err    error
}

// maxLogValue is the greatest length of a parameter in the log.
const maxLogValue = 128

// maxLogParams is the greatest number of parameters in the log.
const maxLogParams = 50

// masked is put in the place of secrets.
const masked = "***"

// logRequest writes one record for each request. Paths and query strings are
// not logged as they come, because they may hold tokens.
func (a *API) logRequest(rec *recorder, r *http.Request, e *logEntry) {
	level := slog.LevelInfo
	name := "unknown route"
	if e.route != nil {
		name = e.route.Method + " " + e.route.Pattern
	}
	attrs := []slog.Attr{
		slog.String("request", e.id), slog.String("route", name), slog.Int("status", rec.status),
		slog.Int64("size", rec.size), slog.Duration("took", time.Since(rec.start)),
		slog.String("remote", r.RemoteAddr), slog.String("role", e.caller.role),
	}
	if !e.caller.user.IsZero() {
		attrs = append(attrs, slog.String("caller", e.caller.user.String()))
	}
	if o, ok := e.params.(*object); ok {
		attrs = append(attrs, logParams(e.route, o))
	}
	if e.err != nil {
		if rec.status >= http.StatusInternalServerError || rec.status == 0 {
			level = slog.LevelError
		}
		attrs = append(attrs, slog.String("code", errorCode(e.err)), slog.String("error", cut(errorText(e.err), 512)))
	}
	a.log.LogAttrs(r.Context(), level, "api call", attrs...)
}

func errorCode(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	if e, ok := errors.AsType[*transportError](err); ok {
		return e.code
	}
	return ""
}

// errorText is an error as the log may have it. Messages about parameters and
// paths quote what the client sent, which may be a secret in the wrong place.
func errorText(err error) string {
	if e, ok := errors.AsType[*transportError](err); ok {
		return e.code
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Details != nil {
		return "wrong parameters: " + strings.Join(e.Details.keys, " ")
	}
	return err.Error()
}

func logParams(route *Route, o *object) slog.Attr {
	var list []any
	for i, key := range o.keys {
		if i == maxLogParams {
			break
		}
		value := logValue(key, o.vals[key])
		if route.Tag == tagAuth && key == "username" || route.in.byName[key] == nil {
			value = masked // often enough a password in the wrong field
		}
		list = append(list, slog.String(cut(key, maxLogValue), value))
	}
	return slog.Group("params", list...)
}

// logValue is a parameter as the log may have it: secrets masked, content of
// messages and structures left out.
func logValue(key string, v any) string {
	low := strings.ToLower(key)
	for _, word := range []string{"password", "token", "secret", "nonce", "privatekey", "totp"} {
		if strings.Contains(low, word) {
			return masked
		}
	}
	switch t := v.(type) {
	case string:
		if key == "raw" || key == "text" || key == "html" {
			return "(text)"
		}
		return cut(t, maxLogValue)
	case number:
		return cut(string(t), maxLogValue)
	case bool:
		if t {
			return "true"
		}
		return "false"
	case nil:
		return "null"
	case []any:
		return "(list)"
	case *file:
		return "(file)"
	default:
		return "(object)"
	}
}

// cut shortens s to at most n octets, at a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}
