package account

import (
	"strings"
	"time"

	"mallard/internal/mail"
)

// trashRetention is how long messages stay in Trash and Junk of a new account, at
// most.
const trashRetention = 30 * 24 * time.Hour

// FolderNames are the names of the mailboxes that a new account gets beside INBOX.
// An empty name means that of the account's language.
type FolderNames struct {
	Sent, Trash, Drafts, Junk string
}

// LanguageFolders returns the names of the default mailboxes in a language. The
// language is a code such as "de" or "pt_BR", of which the part before "_" or "-"
// counts; English where it is not known.
func LanguageFolders(language string) FolderNames {
	code := strings.ToLower(language)
	if i := strings.IndexAny(code, "_-"); i >= 0 {
		code = code[:i]
	}
	switch code {
	case "cs":
		return FolderNames{Sent: "Odeslané", Trash: "Koš", Drafts: "Rozepsané", Junk: "Spam"}
	case "da":
		return FolderNames{Sent: "Sendt post", Trash: "Papirkurv", Drafts: "Kladder", Junk: "Spam"}
	case "de":
		return FolderNames{Sent: "Gesendet", Trash: "Gelöscht", Drafts: "Entwürfe", Junk: "Spam"}
	case "es":
		return FolderNames{Sent: "Enviados", Trash: "Papelera", Drafts: "Borradores", Junk: "No deseado"}
	case "et":
		return FolderNames{Sent: "Saadetud kirjad", Trash: "Prügikast", Drafts: "Mustandid", Junk: "Rämpspost"}
	case "fi":
		return FolderNames{Sent: "Lähetetyt", Trash: "Roskakori", Drafts: "Luonnokset", Junk: "Roskaposti"}
	case "fr":
		return FolderNames{Sent: "Envoyés", Trash: "Corbeille", Drafts: "Brouillons", Junk: "Pourriels"}
	case "hu":
		return FolderNames{Sent: "Küldöttek", Trash: "Kuka", Drafts: "Piszkozatok", Junk: "Kéretlen"}
	case "it":
		return FolderNames{Sent: "Inviata", Trash: "Cestino", Drafts: "Bozze", Junk: "Spam"}
	case "ja":
		return FolderNames{Sent: "送信済み", Trash: "ごみ箱", Drafts: "下書き", Junk: "迷惑メール"}
	}
	return moreLanguageFolders(code)
}

func moreLanguageFolders(code string) FolderNames {
	switch code {
	case "lt":
		return FolderNames{Sent: "Išsiųsti laiškai", Trash: "Šiukšlinė", Drafts: "Juodraščiai", Junk: "Brukalas"}
	case "lv":
		return FolderNames{Sent: "Nosūtītās", Trash: "Papīrgrozs", Drafts: "Uzmetumi", Junk: "Mēstules"}
	case "nb":
		return FolderNames{Sent: "Sendt", Trash: "Slettet", Drafts: "Kladd", Junk: "Spam"}
	case "nl":
		return FolderNames{Sent: "Verzonden berichten", Trash: "Prullenbak", Drafts: "Concepten", Junk: "Spam"}
	case "pl":
		return FolderNames{Sent: "Wysłane", Trash: "Kosz", Drafts: "Kopie robocze", Junk: "Spam"}
	case "pt":
		return FolderNames{Sent: "Enviados", Trash: "Lixeira", Drafts: "Rascunhos", Junk: "Spam"}
	case "ro":
		return FolderNames{Sent: "Trimise", Trash: "Gunoi", Drafts: "Ciorne", Junk: "Spam"}
	case "ru":
		return FolderNames{Sent: "Отправленные", Trash: "Корзина", Drafts: "Черновики", Junk: "СПАМ"}
	case "sk":
		return FolderNames{Sent: "Odoslané", Trash: "Kôš", Drafts: "Koncepty", Junk: "Nevyžiadaná pošta"}
	case "sv":
		return FolderNames{Sent: "Skickat", Trash: "Papperskorg", Drafts: "Utkast", Junk: "Skräp"}
	case "tr":
		return FolderNames{Sent: "Giden", Trash: "Çöp", Drafts: "Taslak", Junk: "İstenmeyen"}
	case "uk":
		return FolderNames{Sent: "Надіслані", Trash: "Кошик", Drafts: "Чернетки", Junk: "Спам"}
	case "zh":
		return FolderNames{Sent: "寄件備份", Trash: "垃圾桶", Drafts: "草稿匣", Junk: "垃圾郵件"}
	}
	return FolderNames{Sent: "Sent Mail", Trash: "Trash", Drafts: "Drafts", Junk: "Junk"}
}

// defaultMailboxes returns the mailboxes of a new account. Messages in Trash and
// Junk stay for retention or 30 days, whichever is shorter; elsewhere for
// retention, where 0 is for ever.
func defaultMailboxes(language string, names FolderNames, retention time.Duration, now time.Time) ([]mail.Mailbox, error) {
	lang := LanguageFolders(language)
	short := trashRetention
	if retention > 0 {
		short = min(short, retention)
	}
	boxes := []mail.Mailbox{
		{Path: mail.Inbox, Retention: retention},
		{Path: or(names.Sent, lang.Sent), SpecialUse: mail.UseSent, Retention: retention},
		{Path: or(names.Trash, lang.Trash), SpecialUse: mail.UseTrash, Retention: short},
		{Path: or(names.Drafts, lang.Drafts), SpecialUse: mail.UseDrafts, Retention: retention},
		{Path: or(names.Junk, lang.Junk), SpecialUse: mail.UseJunk, Retention: short},
	}
	seen := make(map[string]bool, len(boxes))
	for i := range boxes {
		b := &boxes[i]
		path, err := mail.CanonicalName(b.Path)
		if err != nil {
			return nil, err
		}
		if seen[path] {
			return nil, invalid("Duplicate mailbox name: " + b.Path)
		}
		seen[path] = true
		b.Path, b.Subscribed, b.Created = path, true, now
	}
	return boxes, nil
}

func or(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
