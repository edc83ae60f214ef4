package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxPassword is what is read of a password.
const maxPassword = 4096

// passwordFlags are the ways to give a password.
type passwordFlags struct {
	Password      *string `placeholder:"P" xor:"password" help:"The password. Others on this machine can see it in the list of processes: prefer the ways below."`
	PasswordStdin bool    `xor:"password" help:"Read the password from the first line of standard input."`
}

// get returns the password: given, asked for on a terminal, or generated.
func (p passwordFlags) get(ctx context.Context) (secret string, generated bool, err error) {
	switch {
	case p.Password != nil && *p.Password == "":
		return "", false, usageError{errors.New("--password is empty; without it one is asked for or generated")}
	case p.Password != nil:
		return *p.Password, false, nil
	case p.PasswordStdin:
		secret, err = readLine(os.Stdin)
		if err == nil && secret == "" {
			err = usageError{errors.New("standard input holds no password")}
		}
		return secret, false, err
	case isTerminal(os.Stdin) && isTerminal(os.Stderr):
		secret, err = askTwice(ctx)
		if secret != "" || err != nil {
			return secret, false, err
		}
	}
	return strings.ToLower(rand.Text()[:16]), true, nil
}

func askTwice(ctx context.Context) (string, error) {
	first, err := ask(ctx, "Password (empty to have one generated): ")
	if err != nil || first == "" {
		return "", err
	}
	second, err := ask(ctx, "The same again: ")
	if err != nil {
		return "", err
	}
	if first != second {
		return "", usageError{errors.New("the two passwords differ")}
	}
	return first, nil
}

// ask asks for a secret. The end of the context (Ctrl-C) ends the waiting.
func ask(ctx context.Context, question string) (answer string, err error) {
	fmt.Fprint(os.Stderr, question)
	err = withoutEcho(os.Stdin, func() error {
		answer, err = answerOf(ctx)
		return err
	})
	fmt.Fprintln(os.Stderr)
	return answer, err
}

// answerOf waits for a line on standard input.
func answerOf(ctx context.Context) (string, error) {
	type result struct {
		line string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		line, err := readLine(os.Stdin)
		done <- result{line, err}
	}()
	select {
	case r := <-done:
		return r.line, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// readLine reads one line, and not an octet more than a bounded number.
func readLine(r io.Reader) (string, error) {
	b := bufio.NewReaderSize(io.LimitReader(r, maxPassword), 64)
	line, err := b.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read a line: %w", err)
	}
	return strings.TrimRight(line, "\r\n"), nil
}
