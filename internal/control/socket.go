package control

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
)

// maxSocketPath is the greatest length of the path of a socket on the systems that
// there are (macOS and BSD: 103; Linux: 107).
const maxSocketPath = 103

// ErrNoServer says that no server answers on the socket.
var ErrNoServer = errors.New("no server is running on this store")

// Listen makes the socket in a directory, in place of one that an earlier server
// left. The caller must hold the lock of the store. Only the owner of the socket
// can connect to it.
func Listen(dir string) (net.Listener, error) {
	// It is made in a directory that nobody else can enter, so that it is at no
	// moment open to others, and then moved to its place.
	private, err := os.MkdirTemp(dir, ".control-*")
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	defer os.RemoveAll(private)
	l, err := listen(private)
	if err != nil {
		return nil, fmt.Errorf("make the control socket: %w", err)
	}
	name := filepath.Join(dir, SocketName)
	if err = os.Chmod(filepath.Join(private, SocketName), 0o600); err == nil {
		err = os.Rename(filepath.Join(private, SocketName), name)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make the control socket: %w", err), l.Close())
	}
	return &listener{l, name}, nil
}

func listen(dir string) (*net.UnixListener, error) {
	path, done, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	return l, nil
}

// listener removes the socket when it is closed.
type listener struct {
	net.Listener
	name string
}

// Close stops listening.
func (l *listener) Close() error {
	err := l.Listener.Close()
	if err == nil { // not a second time: the name may be a successor's by then
		_ = os.Remove(l.name)
	}
	return err
}

// dialSocket connects to the socket of a directory. The error is ErrNoServer when
// nobody listens.
func dialSocket(ctx context.Context, dir string) (net.Conn, error) {
	path, done, err := shortPath(dir)
	if err != nil {
		return nil, err
	}
	defer done()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("the control socket %s can only be used by the user that the server runs as, and by root: %w", filepath.Join(dir, SocketName), err)
	}
	return nil, fmt.Errorf("connect to the server: %w", err)
}

// shortPath returns a path of the socket that a system call takes. The directory
// of a store may have a longer path than sockets can have: then the way leads over
// a symbolic link, which done removes.
func shortPath(dir string) (path string, done func(), err error) {
	path = filepath.Join(dir, SocketName)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", nil, err
	}
	tmp, err := os.MkdirTemp("", "mallard")
	if err != nil {
		return "", nil, fmt.Errorf("the path %s is longer than the %d octets that a socket can have, and there is no room for a shorter way to it: %w", path, maxSocketPath, err)
	}
	done = func() { _ = os.RemoveAll(tmp) }
	link := filepath.Join(tmp, "d")
	if err := os.Symlink(dir, link); err != nil {
		done()
		return "", nil, fmt.Errorf("the path %s is longer than the %d octets that a socket can have, and a link to it cannot be made: %w", path, maxSocketPath, err)
	}
	if short := filepath.Join(link, SocketName); len(short) <= maxSocketPath {
		return short, done, nil
	}
	done()
	return "", nil, fmt.Errorf("the path %s is longer than the %d octets that a socket can have, and so is the way over %s; set TMPDIR to a shorter path", path, maxSocketPath, os.TempDir())
}
