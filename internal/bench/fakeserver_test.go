package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// A fakeServer keeps mail in memory and speaks just enough LMTP and IMAP for the driver. Its fields make it
// misbehave, so that tests can see the driver notice.
type fakeServer struct {
	lmtp, imap net.Listener
	wg         sync.WaitGroup

	noExtensions bool // neither PIPELINING nor CHUNKING nor LITERAL+
	noChunking   bool
	refuse       string                              // the answer to DATA's end, in place of 250
	store        func(serial int, msg []byte) []byte // what is kept for the n-th message; nil drops it
	prepend      string
	literals     bool // envelope strings as literals
	fetchAtMost  int  // messages that a FETCH gives, whatever EXISTS says; 0: all
	forgetFlags  bool // STORE is answered and nothing else
	missOne      bool // a search leaves out what it finds first

	mu      sync.Mutex
	boxes   map[string][][]byte
	waiting map[string][]chan int
	flagged map[string]bool // whether all of a mailbox is \Flagged
	count   int
	conns   []net.Conn
}

func startFake(t testing.TB, f *fakeServer) *fakeServer {
	t.Helper()
	f.boxes, f.waiting, f.flagged = map[string][][]byte{}, map[string][]chan int{}, map[string]bool{}
	listen := func(serve func(net.Conn, *bufio.Reader, *bufio.Writer)) net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		f.wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				f.mu.Lock()
				f.conns = append(f.conns, c)
				f.mu.Unlock()
				f.wg.Go(func() {
					defer c.Close()
					serve(c, bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 256<<10))
				})
			}
		})
		return l
	}
	f.lmtp, f.imap = listen(f.serveLMTP), listen(f.serveIMAP)
	t.Cleanup(func() {
		f.lmtp.Close()
		f.imap.Close()
		f.mu.Lock()
		for _, c := range f.conns {
			c.Close()
		}
		f.mu.Unlock()
		f.wg.Wait()
	})
	return f
}

func (f *fakeServer) keep(name string, msg []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.store != nil {
		if msg = f.store(f.count-1, msg); msg == nil {
			return
		}
	}
	f.boxes[name] = append(f.boxes[name], msg)
	for _, w := range f.waiting[name] {
		select {
		case w <- len(f.boxes[name]):
		default:
		}
	}
}

func (f *fakeServer) serveLMTP(_ net.Conn, r *bufio.Reader, w *bufio.Writer) {
	fmt.Fprint(w, "220 fake\r\n")
	var rcpts []string
	for {
		if r.Buffered() == 0 {
			w.Flush()
		}
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(line[:4]); verb {
		case "LHLO":
			if f.noExtensions {
				fmt.Fprint(w, "250 fake\r\n")
				break
			}
			fmt.Fprint(w, "250-fake\r\n250-PIPELINING\r\n250-8BITMIME\r\n")
			if !f.noChunking {
				fmt.Fprint(w, "250-CHUNKING\r\n")
			}
			fmt.Fprint(w, "250 SIZE 100000000\r\n")
		case "MAIL":
			rcpts = nil
			fmt.Fprint(w, "250 ok\r\n")
		case "RCPT":
			_, addr, _ := strings.Cut(line, "<")
			addr, _, _ = strings.Cut(addr, ">")
			rcpts = append(rcpts, addr)
			fmt.Fprint(w, "250 ok\r\n")
		case "DATA":
			fmt.Fprint(w, "354 go\r\n")
			w.Flush()
			msg, err := readDotted(r)
			if err != nil {
				return
			}
			f.take(w, rcpts, msg)
		case "BDAT":
			n, _ := strconv.Atoi(strings.Fields(line)[1])
			msg := make([]byte, n)
			if _, err := io.ReadFull(r, msg); err != nil {
				return
			}
			f.take(w, rcpts, msg)
		case "QUIT":
			fmt.Fprint(w, "221 bye\r\n")
			w.Flush()
			return
		default:
			fmt.Fprint(w, "500 what\r\n")
		}
	}
}

// take keeps a message for its recipients, unless it is refused.
func (f *fakeServer) take(w io.Writer, rcpts []string, msg []byte) {
	for _, rcpt := range rcpts {
		if f.refuse != "" {
			fmt.Fprintf(w, "%s\r\n", f.refuse)
			continue
		}
		f.keep(rcpt, append([]byte(f.prepend), msg...))
		fmt.Fprint(w, "250 2.0.0 kept\r\n")
	}
}

func readDotted(r *bufio.Reader) ([]byte, error) {
	var msg []byte
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		if string(line) == ".\r\n" {
			return msg, nil
		}
		msg = append(msg, bytes.TrimPrefix(line, []byte("."))...)
	}
}

func (f *fakeServer) serveIMAP(_ net.Conn, r *bufio.Reader, w *bufio.Writer) {
	fmt.Fprint(w, "* OK fake\r\n")
	var name string
	for {
		w.Flush()
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		tag, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		verb, args, _ := strings.Cut(rest, " ")
		switch verb {
		case "LOGIN":
			name = strings.Split(args, `"`)[1]
		case "CAPABILITY":
			if !f.noExtensions {
				fmt.Fprint(w, "* CAPABILITY IMAP4rev1 LITERAL+ IDLE\r\n")
			}
		case "SELECT":
			f.mu.Lock()
			fmt.Fprintf(w, "* %d EXISTS\r\n* OK [UIDNEXT %d] next\r\n", len(f.boxes[name]), len(f.boxes[name])+1)
			f.mu.Unlock()
		case "APPEND":
			digits := strings.Trim(args[strings.IndexByte(args, '{'):], "{+}")
			if f.noExtensions {
				fmt.Fprint(w, "+ go\r\n")
				w.Flush()
			}
			n, _ := strconv.Atoi(digits)
			msg := make([]byte, n+2)
			if _, err := io.ReadFull(r, msg); err != nil {
				return
			}
			f.keep(name, msg[:n])
		case "FETCH":
			f.fetch(w, name, args)
		case "STORE":
			f.storeFlags(w, name, args)
		case "SEARCH":
			fmt.Fprint(w, "* SEARCH")
			for _, n := range f.search(name, strings.Split(args, `"`)[1]) {
				fmt.Fprintf(w, " %d", n)
			}
			fmt.Fprint(w, "\r\n")
		case "IDLE":
			f.idle(w, name, r)
			return
		case "LOGOUT":
			return
		}
		fmt.Fprintf(w, "%s OK done\r\n", tag)
	}
}

func (f *fakeServer) fetch(w *bufio.Writer, name, args string) {
	f.mu.Lock()
	box, flagged := slices.Clone(f.boxes[name]), f.flagged[name]
	f.mu.Unlock()
	set, _, _ := strings.Cut(args, " ")
	for i, msg := range box {
		if set != "1:*" && set != strconv.Itoa(i+1) {
			continue
		}
		if strings.Contains(args, "FLAGS)") {
			writeFlags(w, i+1, flagged)
			continue
		}
		if f.fetchAtMost > 0 && i >= f.fetchAtMost {
			return
		}
		if strings.Contains(args, "BODY.PEEK[]") {
			fmt.Fprintf(w, "* %d FETCH (BODY[] {%d}\r\n", i+1, len(msg))
			w.Write(msg)
			fmt.Fprint(w, ")\r\n")
			continue
		}
		at, digits := findID(msg)
		header := metaHeader(msg[at:])
		id := fmt.Sprintf(`"<%s%s>"`, digits, ".bench@mail.example.net")
		if strings.Contains(args, "RFC822.SIZE") {
			fmt.Fprintf(w, "* %d FETCH (UID %d FLAGS () INTERNALDATE \"x\" RFC822.SIZE %d ENVELOPE (NIL {3}\r\n\"}x %s) BODYSTRUCTURE (\"TEXT\"))\r\n",
				i+1, i+100, len(msg), id)
			continue
		}
		if f.literals {
			id = fmt.Sprintf("{%d}\r\n%s", len(id)-2, id[1:len(id)-1])
		}
		fmt.Fprintf(w, "* %d FETCH (ENVELOPE (NIL %s) BODYSTRUCTURE (\"TEXT\") BODY[HEADER.FIELDS (FROM)] {%d}\r\n%s)\r\n", i+1, id, len(header), header)
	}
}

func (f *fakeServer) idle(w *bufio.Writer, name string, r *bufio.Reader) {
	news := make(chan int, 100)
	f.mu.Lock()
	f.waiting[name] = append(f.waiting[name], news)
	f.mu.Unlock()
	fmt.Fprint(w, "+ idling\r\n")
	w.Flush()
	gone := make(chan struct{})
	f.wg.Go(func() {
		defer close(gone)
		r.ReadByte()
	})
	for {
		select {
		case n := <-news:
			fmt.Fprintf(w, "* %d EXISTS\r\n", n)
			w.Flush()
		case <-gone:
			return
		}
	}
}
