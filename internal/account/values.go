package account

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"mallard/internal/address"
	"mallard/internal/mail"
)

// Limits of values.
const (
	// MaxTag is the greatest length of a tag in characters.
	MaxTag = 128
	// MaxObject is the greatest length of MetaData and InternalData in octets.
	MaxObject = 1 << 20
	// maxList bounds tags, targets and other lists of an account.
	maxList = 1000
)

// NormalizeTags returns tags trimmed, without duplicates (case aside; the first
// spelling stays) and without empty ones, sorted without regard to case.
func NormalizeTags(tags []string) []string {
	out := make([]string, 0, len(tags))
	seen := make(map[string]bool, len(tags))
	for _, t := range tags {
		t = strings.TrimSpace(t)
		if l := strings.ToLower(t); t != "" && !seen[l] {
			seen[l] = true
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) })
	return out
}

func checkTags(tags []string) error {
	if len(tags) > maxList {
		return mail.NewError(mail.CodeLimit, fmt.Sprintf("At most %d tags are allowed", maxList))
	}
	for _, t := range tags {
		if utf8.RuneCountInString(t) > MaxTag {
			return invalid(fmt.Sprintf("A tag has at most %d characters", MaxTag))
		}
	}
	return nil
}

func lowerAll(in []string) []string {
	out := make([]string, 0, len(in))
	for _, s := range in {
		out = append(out, strings.ToLower(strings.TrimSpace(s)))
	}
	return out
}

// checkObject reports why s cannot be kept as MetaData or InternalData: it must be
// a JSON object, or "" for none.
func checkObject(what, s string) error {
	switch {
	case s == "":
		return nil
	case len(s) > MaxObject:
		return mail.NewError(mail.CodeLimit, fmt.Sprintf("%s has at most %d bytes", what, MaxObject))
	case !json.Valid([]byte(s)) || !bytes.HasPrefix(bytes.TrimSpace([]byte(s)), []byte("{")):
		return invalid(what + " must be a JSON object")
	}
	return nil
}

// target types.
const (
	targetMail  = "mail"
	targetRelay = "relay"
	targetHTTP  = "http"
)

// targetType tells what a forwarding target is by its text.
func targetType(value string) (string, error) {
	scheme, rest, found := strings.Cut(value, "://")
	switch {
	case found && rest != "" && isScheme(scheme, "smtp", "smtps"):
		return targetRelay, nil
	case found && rest != "" && isScheme(scheme, "http", "https"):
		return targetHTTP, nil
	case address.ValidEmail(value):
		return targetMail, nil
	}
	return "", invalid(fmt.Sprintf("Unknown target type %q", value))
}

func isScheme(scheme string, names ...string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, scheme) })
}

// makeTargets turns the texts of targets into targets. A text that was a target
// before keeps its id; duplicates are dropped.
func (s *Service) makeTargets(values []string, before []mail.Target) ([]mail.Target, error) {
	if len(values) > maxList {
		return nil, mail.NewError(mail.CodeLimit, fmt.Sprintf("At most %d targets are allowed", maxList))
	}
	out := make([]mail.Target, 0, len(values))
	for _, v := range values {
		if slices.ContainsFunc(out, func(t mail.Target) bool { return t.Value == v }) {
			continue
		}
		kind, err := targetType(v)
		if err != nil {
			return nil, err
		}
		t := mail.Target{Type: kind, Value: v}
		if i := slices.IndexFunc(before, func(t mail.Target) bool { return t.Value == v }); i >= 0 {
			t.ID = before[i].ID
		} else {
			t.ID = mail.NewID[mail.MessageID](s.ids)
		}
		out = append(out, t)
	}
	return out, nil
}

// normalizeScopes returns scopes sorted and without duplicates.
func normalizeScopes(scopes []string) ([]string, error) {
	out := slices.Clone(scopes)
	for _, sc := range out {
		switch sc {
		case "imap", "pop3", "smtp", "mcp":
		default:
			return nil, invalid(fmt.Sprintf("Unknown scope %q", sc))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// normalizeWhitelist returns addresses as they are compared with senders; one may
// begin or end with an asterisk.
func normalizeWhitelist(in []string) []string {
	out := make([]string, 0, len(in))
	for _, a := range in {
		if n := address.Normalize(a); n != "@" && !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
