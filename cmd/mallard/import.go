package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"mallard/internal/control"
	"mallard/internal/mail"
	"mallard/internal/transfer"
)

type importCmd struct {
	User    string            `required:"" placeholder:"NAME" help:"Whose mail it is: user name or address."`
	Maildir string            `xor:"source" required:"" placeholder:"DIR" type:"existingdir" help:"Import a Maildir with its folders: Maildir++ and nested ones."`
	Mbox    []string          `xor:"source" required:"" sep:"none" placeholder:"FILE" help:"Import an mbox file, or all files with the extension .mbox below a directory; may be given more than once."`
	Mailbox string            `placeholder:"PREFIX" help:"Put everything below this mailbox: what would go to INBOX goes into it. An mbox file goes into it."`
	Map     map[string]string `mapsep:"none" placeholder:"FROM=TO" help:"Put the folder FROM, and those below it, into the mailbox TO; may be given more than once."`
	Format  string            `name:"mbox-format" enum:"auto,mboxrd,mboxo,mboxcl2" default:"auto" help:"How the mbox files are quoted: ${enum}."`
	State   string            `placeholder:"FILE" help:"Where it is kept what was imported. Without it that is a file in the directory of the store."`
	DryRun  bool              `help:"Only show what would be imported."`
	JSON    bool              `name:"json" help:"Print JSON."`
	progressFlag
}

// Help is shown by --help.
func (importCmd) Help() string {
	return `Examples:
  mallard import --user jane --maildir /var/mail/jane/Maildir
  mallard import --user jane --maildir ~/Maildir --map "Sent=Sent Mail" --dry-run
  mallard import --user jane --mbox ~/Mail/archive.mbox --mailbox Archive
  mallard import --user jane --mbox ~/export

Flags, keywords, dates and folders come along. It can be interrupted at any time
and goes on where it was when the same command is given again; nothing is imported
twice. Given again later, it imports what is new. To import everything once more
remove the state file, whose name --dry-run shows. The exit status is 1 when a
message could not be imported.`
}

// Run imports.
func (i importCmd) Run(ctx context.Context, c *cli) error {
	prefix, err := i.prefix()
	if err == nil && i.State != "" && len(i.sources()) > 1 {
		err = errors.New("--state names one file: import one --mbox at a time with it")
	}
	if err != nil {
		return usageError{err}
	}
	mode := changeStore
	if i.DryRun {
		mode = readStore
	}
	return c.with(ctx, mode, func(s *session) error {
		user, err := s.find(ctx, i.User)
		if err != nil {
			return err
		}
		total := control.ImportCount{}
		for _, name := range i.sources() {
			count, err := i.one(ctx, s, user, name, prefix)
			total.Imported, total.Already, total.Failed = total.Imported+count.Imported, total.Already+count.Already, total.Failed+count.Failed
			total.Bytes += count.Bytes
			if err != nil {
				return i.report(total, fmt.Errorf("import %s: %w", name, err))
			}
		}
		return i.report(total, nil)
	})
}

// prefix is the mailbox that is given with --mailbox.
func (i *importCmd) prefix() (string, error) {
	if i.Mailbox == "" {
		return "", nil
	}
	p, err := mail.CanonicalName(i.Mailbox)
	if err != nil {
		return "", fmt.Errorf("--mailbox %q: %w", i.Mailbox, err)
	}
	return p, nil
}

func (i *importCmd) sources() []string {
	if i.Maildir != "" {
		return []string{i.Maildir}
	}
	return i.Mbox
}

func (i *importCmd) report(total control.ImportCount, err error) error {
	if i.DryRun {
		return err
	}
	switch {
	case i.JSON:
		err = errors.Join(err, printJSON(total))
	case err == nil || total != (control.ImportCount{}):
		fmt.Printf("%d messages imported (%s), %d were there already, %d failed\n", total.Imported, bytesText(total.Bytes), total.Already, total.Failed)
	}
	if err == nil && total.Failed > 0 {
		err = fmt.Errorf("%d messages were not imported", total.Failed)
	}
	return err
}

// one imports one source.
func (i *importCmd) one(ctx context.Context, s *session, user *control.User, name, prefix string) (control.ImportCount, error) {
	p := i.open()
	defer p.clear()
	abs, err := filepath.Abs(name)
	if err != nil {
		return control.ImportCount{}, err
	}
	info, err := os.Stat(abs)
	if err != nil {
		return control.ImportCount{}, err
	}
	source, err := i.source(abs, p)
	if err != nil {
		return control.ImportCount{}, err
	}
	defer source.Close()
	single := i.Maildir == "" && !info.IsDir()
	path := func(folder string) string { return i.path(folder, prefix, single) }
	id := transfer.Identity{User: user.ID.String(), Kind: i.kind(), Source: abs, Prefix: prefix}
	if i.DryRun {
		return control.ImportCount{}, i.plan(source, path, i.stateFile(s, id))
	}
	state, err := transfer.OpenState(i.stateFile(s, id), id)
	if err != nil {
		return control.ImportCount{}, err
	}
	defer state.Close()
	messages := 0
	for _, f := range source.Folders() {
		messages += f.Messages
	}
	run := control.Import{
		Client: s.Client, User: user.ID, Source: source, State: state, Path: path, Problem: p.problem,
		Progress: func(n control.ImportCount) {
			p.show(func() string {
				done := n.Imported + n.Already + n.Failed
				return fmt.Sprintf("%s: %d of %d messages, %s, %s", filepath.Base(name), done, messages,
					bytesText(n.Bytes), p.rate(n.Imported, n.Bytes, messages-done))
			})
		},
	}
	return run.Run(ctx)
}

func (i *importCmd) kind() string {
	if i.Maildir != "" {
		return "maildir"
	}
	return "mbox"
}

func (i *importCmd) source(abs string, p *progress) (transfer.Source, error) {
	if i.Maildir != "" {
		return transfer.OpenMaildir(abs)
	}
	var read int64
	return transfer.OpenMbox(abs, transfer.MboxFormat(i.Format), func(n int64) {
		read += n
		p.show(func() string { return fmt.Sprintf("%s: looking for messages, %s", filepath.Base(abs), bytesText(read)) })
	})
}

// path is the mailbox for a folder.
func (i *importCmd) path(folder, prefix string, single bool) string {
	for from, to := range i.Map {
		if folder == from || mail.IsInferior(folder, from) {
			folder = to + folder[len(from):]
			break
		}
	}
	switch {
	case prefix == "":
		return folder
	case single || folder == mail.Inbox:
		return prefix
	}
	return prefix + mail.Separator + folder
}

// stateFile is where it is kept what was imported.
func (i *importCmd) stateFile(s *session, id transfer.Identity) string {
	if i.State != "" {
		return i.State
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{id.User, id.Kind, id.Source, id.Prefix}, "\x00")))
	return filepath.Join(s.cfg.Store.Path, "imports", hex.EncodeToString(sum[:8])+".state")
}

// plan shows what would be imported.
func (i *importCmd) plan(source transfer.Source, path func(string) string, state string) error {
	type line struct {
		Folder   string `json:"folder"`
		Mailbox  string `json:"mailbox"`
		Messages int    `json:"messages"`
		State    string `json:"state"`
	}
	var lines []line
	for _, f := range source.Folders() {
		lines = append(lines, line{f.Path, path(f.Path), f.Messages, state})
	}
	if i.JSON {
		for _, l := range lines {
			if err := printJSON(l); err != nil {
				return err
			}
		}
		return nil
	}
	err := table(os.Stdout, func(row func(...any)) {
		row("FOLDER", "MAILBOX", "MESSAGES")
		for _, l := range lines {
			row(plain(l.Folder), plain(l.Mailbox), l.Messages)
		}
	})
	fmt.Println("\nNothing was imported. The state would be kept in", state)
	return err
}
