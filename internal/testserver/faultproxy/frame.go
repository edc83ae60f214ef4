package faultproxy

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxFrame bounds what is taken for one message: a MongoDB message is 48 MB at most.
const maxFrame = 64 << 20

// A Protocol says where a message ends.
type Protocol int

const (
	// Raw takes what one read gives for a message, and the octets that come next for its answer.
	Raw Protocol = iota
	// Mongo is the MongoDB wire protocol. Counted are commands but for those that make and watch connections.
	Mongo
	// Redis is RESP 2 and 3. Counted are commands but for those that make and watch connections.
	Redis
)

// quiet are the commands that a driver sends by itself. They pass without being counted.
func (p Protocol) quiet(name string) bool {
	switch p {
	case Mongo:
		return slices.Contains([]string{"hello", "ismaster", "ping", "buildinfo", "saslstart", "saslcontinue", "endsessions"}, strings.ToLower(name))
	case Redis:
		return slices.Contains([]string{"hello", "auth", "select", "client", "ping"}, name)
	default:
		return false
	}
}

// A frame is one message.
type frame struct {
	octets   []byte
	name     string // of the command, where it is a request of a protocol that has them
	id       uint32 // Mongo: its number
	answers  uint32 // Mongo: the number of the request that it answers
	unasked  bool   // Redis: a push, which answers nothing
	noAnswer bool   // a request that nothing answers
}

// request reads one message of a client.
func (p Protocol) request(r *bufio.Reader) (frame, error) {
	switch p {
	case Mongo:
		return mongoFrame(r)
	case Redis:
		return respRequest(r)
	default:
		return rawFrame(r)
	}
}

// answer reads one message of a server.
func (p Protocol) answer(r *bufio.Reader) (frame, error) {
	switch p {
	case Mongo:
		return mongoFrame(r)
	case Redis:
		return respAnswer(r)
	default:
		return rawFrame(r)
	}
}

func rawFrame(r *bufio.Reader) (frame, error) {
	if _, err := r.Peek(1); err != nil {
		return frame{}, err
	}
	b := make([]byte, r.Buffered())
	_, err := io.ReadFull(r, b)
	return frame{octets: b}, err
}

// Numbers of the MongoDB wire protocol.
const (
	mongoHeader   = 16 // octets: length, number, number that it answers, operation
	opMsg         = 2013
	opQuery       = 2004
	flagMoreComes = 2 // of OP_MSG: no answer is wanted
)

func mongoFrame(r *bufio.Reader) (frame, error) {
	head, err := r.Peek(mongoHeader)
	if err != nil {
		return frame{}, err
	}
	length := binary.LittleEndian.Uint32(head)
	if length < mongoHeader || length > maxFrame {
		return frame{}, fmt.Errorf("a message of %d octets", length)
	}
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return frame{}, err
	}
	f := frame{octets: b, id: binary.LittleEndian.Uint32(b[4:]), answers: binary.LittleEndian.Uint32(b[8:])}
	f.name, f.noAnswer = mongoCommand(b)
	return f, nil
}

// mongoCommand is the name of a command: that of the first element of its document.
func mongoCommand(b []byte) (name string, noAnswer bool) {
	body := b[mongoHeader:]
	switch binary.LittleEndian.Uint32(b[12:]) {
	case opMsg:
		if len(body) < 4 {
			return "", false
		}
		noAnswer = body[0]&flagMoreComes != 0
		return bodyCommand(body[4:]), noAnswer
	case opQuery: // flags, name of a collection, skip, limit, document
		if len(body) < 4 {
			return "", false
		}
		if _, rest, ok := bytes.Cut(body[4:], []byte{0}); ok && len(rest) > 8 {
			return firstKey(rest[8:]), false
		}
	}
	return "", false
}

// bodyCommand looks through the sections of an OP_MSG for the one of kind 0. Sequences of documents (kind 1) may come
// before it.
func bodyCommand(sections []byte) string {
	for len(sections) > 5 {
		switch sections[0] {
		case 0:
			return firstKey(sections[1:])
		case 1:
			size := int(binary.LittleEndian.Uint32(sections[1:]))
			if size < 4 || size > len(sections)-1 {
				return ""
			}
			sections = sections[1+size:]
		default:
			return ""
		}
	}
	return ""
}

func firstKey(document []byte) string {
	if len(document) < 6 { // length, type of the first element
		return ""
	}
	key, _, ok := bytes.Cut(document[5:], []byte{0})
	if !ok {
		return ""
	}
	return string(key)
}

// respRequest reads a command: an array of bulk strings, or a line of words.
func respRequest(r *bufio.Reader) (frame, error) {
	b, err := respValue(r, nil)
	if err != nil {
		return frame{}, err
	}
	f := frame{octets: b}
	words := bytes.Split(b, []byte("\r\n"))
	switch {
	case b[0] == '*' && len(words) > 2: // *1 $4 PING
		f.name = strings.ToLower(string(words[2]))
	case b[0] != '*':
		f.name, _, _ = strings.Cut(strings.ToLower(string(words[0])), " ")
	}
	return f, nil
}

func respAnswer(r *bufio.Reader) (frame, error) {
	b, err := respValue(r, nil)
	if err != nil {
		return frame{}, err
	}
	return frame{octets: b, unasked: b[0] == '>'}, nil
}

var errRESP = errors.New("not RESP")

// respValue appends one value with everything inside it.
func respValue(r *bufio.Reader, b []byte) ([]byte, error) {
	line, err := r.ReadBytes('\n')
	if err != nil {
		return b, err
	}
	b = append(b, line...)
	kind, text := line[0], strings.TrimRight(string(line[1:]), "\r\n")
	if !strings.ContainsRune("$=!*~>%|", rune(kind)) {
		return b, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n > maxFrame || len(b) > maxFrame:
		return b, errRESP
	case n < 0: // there is none
		return b, nil
	}
	switch kind {
	case '$', '=', '!':
		text := make([]byte, n+2)
		_, err := io.ReadFull(r, text)
		return append(b, text...), err
	case '%':
		n *= 2
	case '|': // attributes of the value that follows
		n = 2*n + 1
	}
	for range n {
		if b, err = respValue(r, b); err != nil {
			return b, err
		}
	}
	return b, nil
}

// Errors of a server of MongoDB whose role changes.
const (
	notPrimary  = 10107 // NotWritablePrimary
	interrupted = 11602 // InterruptedDueToReplStateChange
)

// denial is the answer to a request that says that it failed.
func denial(to uint32, code int32) []byte {
	body, err := bson.Marshal(bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: "not primary"}, {Key: "code", Value: code}})
	if err != nil {
		panic(err) // it is always the same document
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(mongoHeader+5+len(body)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, to)
	b = binary.LittleEndian.AppendUint32(b, opMsg)
	b = append(b, 0, 0, 0, 0, 0) // flags; the body is a section of kind 0
	return append(b, body...)
}
