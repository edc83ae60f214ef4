#!/usr/bin/env bash
# Installs a server of the MongoDB protocol from Debian's archive and the Go module proxy alone: PostgreSQL 18 with the
# extension DocumentDB, unpacked from a newer Debian beside the host, which is not upgraded, and FerretDB, built with the
# host's Go. Nothing is started for longer than the installation; test/servers starts instances.
#
#   mongo-wire.sh DIR     installs into DIR; does nothing when it is all there
#
# DIR/bin/ferretdb is the server, DIR/root the tree that PostgreSQL runs in (as user 5432, which needs no account),
# DIR/root/data/template an empty database cluster to copy. Needs root (chroot, mknod), apt-get, dpkg-deb, go and patch.
# MALLARD_TEST_SUITE names another Debian suite, MALLARD_TEST_MIRROR another archive. About 240 MB are downloaded and
# 520 MB kept. Exit status 0 only if everything is there.
set -euo pipefail

suite="${MALLARD_TEST_SUITE:-forky}" # the first with the package postgresql-18-documentdb
ferretdb_version=v2.7.0
patch_file="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/ferretdb-2.7.0.patch"
user=5432
port=15433 # of PostgreSQL while the template is made; a socket alone is not enough for the extension's scheduler

say() { printf 'mongo-wire.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# again COMMAND... runs it up to three times: the network may hiccup.
again() {
  local pause
  for pause in 10 30; do
    "$@" && return 0
    sleep "$pause"
  done
  "$@"
}

[ "$#" -eq 1 ] || die "usage: mongo-wire.sh DIR"
dir="$1"
root="$dir/root"
template="$root/data/template"

# runs a program of the tree as PostgreSQL's user
inside() {
  chroot --userspec="$user:$user" "$root" /usr/bin/env -i HOME=/tmp TZ=UTC LANG=C.UTF-8 \
    PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin "$@"
}

# the archive that this machine uses already
mirror() {
  local found
  found="$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
    sed -n 's/^URIs: *\([^ ]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .* main.*/\2/p' | grep -v security | sed -n 1p || true)"
  printf '%s\n' "${MALLARD_TEST_MIRROR:-${found:-http://deb.debian.org/debian}}"
}

# An apt of its own: own lists, own cache, and an empty status file, so that it resolves everything down to libc.
download_packages() {
  local apt="$1" log="$1/log"
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/etc/preferences.d"
  : >"$apt/status"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' "$(mirror)" "$suite" >"$apt/sources.list"
  # An archive can be older than the date that its Release file allows, hence Check-Valid-Until.
  local get=(apt-get -q -o Dir::Etc::SourceList="$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts="$apt/etc/preferences.d"
    -o Dir::State::Lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::State::extended_states="$apt/extended"
    -o Dir::Cache="$apt/cache" -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Acquire::Retries=3
    -o APT::Sandbox::User=root -o APT::Install-Recommends=false -o Debug::NoLocking=true)
  say "downloading PostgreSQL and DocumentDB from $suite"
  again "${get[@]}" update >"$log" 2>&1 || { tail -20 "$log" >&2; die "apt-get update of $suite failed"; }
  again "${get[@]}" -y --download-only install postgresql-18 postgresql-18-documentdb base-files dash coreutils libc-bin tzdata \
    >"$log" 2>&1 || { tail -20 "$log" >&2; die "apt-get download from $suite failed"; }
}

# No script of a package is run; what they would have done is in finish_tree.
unpack_packages() {
  local d
  for d in bin sbin lib lib64; do
    mkdir -p "$root/usr/$d"
    ln -s "usr/$d" "$root/$d"
  done
  find "$1/cache/archives" -name '*.deb' -print0 | xargs -0 -P "$(nproc)" -n 8 bash -c '
    root=$0
    for deb; do
      dpkg-deb --fsys-tarfile "$deb" | tar -C "$root" -xf - --keep-directory-symlink --no-same-owner \
        --exclude="./usr/share/doc" --exclude="./usr/share/man" --exclude="./usr/share/locale" --exclude="./usr/share/info" \
        --exclude="*/bitcode" --exclude="./usr/share/perl*" --exclude="./usr/lib/*-linux-gnu/perl*" || exit 255
    done' "$root" || die "cannot unpack"
}

finish_tree() {
  local extensions="$root/usr/share/postgresql/18/extension" lib
  mkdir -p "$root"/{dev/shm,etc,tmp,data,proc,var/run}
  chmod 1777 "$root/tmp" "$root/dev/shm"
  mknod -m 666 "$root/dev/null" c 1 3
  mknod -m 666 "$root/dev/zero" c 1 5
  mknod -m 666 "$root/dev/random" c 1 8
  mknod -m 666 "$root/dev/urandom" c 1 9
  printf 'root:x:0:0:root:/root:/bin/sh\npostgres:x:%s:%s:postgres:/tmp:/bin/sh\n' "$user" "$user" >"$root/etc/passwd"
  printf 'root:x:0:\npostgres:x:%s:\n' "$user" >"$root/etc/group"
  printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
  chown "$user:$user" "$root/data"
  # BLAS, LAPACK and the control file of PostGIS are links that update-alternatives makes.
  for lib in "$root"/usr/lib/*-linux-gnu; do
    printf '%s\n%s\n' "${lib#"$root"}/blas" "${lib#"$root"}/lapack"
  done >"$root/etc/ld.so.conf.d/zz-alternatives.conf"
  [ -e "$extensions/postgis.control" ] || ln -sf postgis-3.control "$extensions/postgis.control"
  ldconfig -r "$root" 2>/dev/null || chroot "$root" /usr/sbin/ldconfig
  inside postgres --version >/dev/null || die "PostgreSQL does not run in $root"
}

install_tree() {
  [ "$(cat "$root/.ok" 2>/dev/null)" != "$suite" ] || return 0
  rm -rf "$root" "$dir/apt"
  mkdir -p "$root"
  download_packages "$dir/apt"
  unpack_packages "$dir/apt"
  finish_tree
  rm -rf "$dir/apt"
  printf '%s\n' "$suite" >"$root/.ok"
}

download_ferretdb() { (cd / && go mod download -json "github.com/FerretDB/FerretDB/v2@$ferretdb_version"); }

install_ferretdb() {
  local bin="$dir/bin" source="$dir/ferretdb-src" stamp module
  stamp="$ferretdb_version $(sha256sum <"$patch_file" | cut -c1-12) $(go env GOVERSION)"
  [ ! -x "$bin/ferretdb" ] || [ "$(cat "$bin/.ok" 2>/dev/null)" != "$stamp" ] || return 0
  say "building FerretDB $ferretdb_version"
  mkdir -p "$bin"
  again download_ferretdb >/dev/null || die "cannot download FerretDB"
  module="$(download_ferretdb | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')"
  [ -n "$module" ] || die "cannot download FerretDB"
  rm -rf "$source"
  cp -r "$module" "$source"
  chmod -R u+w "$source"
  patch -s -p1 -d "$source" <"$patch_file" || die "the patch does not apply"
  printf '%s\n' "$ferretdb_version" >"$source/build/version/version.txt"
  (cd "$source" && export GOFLAGS=-mod=mod && again go build -o "$bin/ferretdb" ./cmd/ferretdb) || die "cannot build FerretDB"
  rm -rf "$source"
  printf '%s\n' "$stamp" >"$bin/.ok"
}

# Every instance starts from a copy of it. An open cursor of a sorted result holds a connection, unless it is kept in a
# file; deadlocks are the rule when many write one document, and the patched FerretDB repeats what lost.
settings() {
  cat <<'CONF'
listen_addresses = '127.0.0.1'
unix_socket_directories = '/tmp'
shared_preload_libraries = 'pg_cron, pg_documentdb_core, pg_documentdb'
cron.database_name = 'postgres'
cron.use_background_workers = on
cron.log_run = off
cron.log_statement = off
max_worker_processes = 24
max_connections = 500
dynamic_shared_memory_type = mmap
shared_buffers = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
documentdb.useFileBasedPersistedCursors = on
documentdb.defaultCursorExpiryTimeLimitSeconds = 600
documentdb.maxWriteBatchSize = 100000
deadlock_timeout = 50ms
jit = off
log_min_messages = warning
log_checkpoints = off
CONF
}

make_template() {
  [ ! -e "$template/.ok" ] || return 0
  say "making an empty database"
  # A run that was killed has left the server that it was made with.
  [ ! -e "$template/postmaster.pid" ] || inside pg_ctl -D /data/template -m immediate -s -w stop || true
  rm -rf "$template"
  inside initdb -D /data/template -A trust -U postgres --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 \
    --no-sync >"$dir/initdb.log" 2>&1 || { tail -20 "$dir/initdb.log" >&2; die "initdb failed"; }
  settings >>"$template/postgresql.conf"
  install -d -o "$user" -g "$user" "$template/pg_documentdb_cursor_files"
  # Without the lock of install.sh, which it would hold for as long as it runs.
  inside pg_ctl -D /data/template -o "-p $port" -l /data/template.log -s -w start >/dev/null 9>&- || { tail -20 "$root/data/template.log" >&2; die "PostgreSQL does not start"; }
  local made=0
  inside psql -q -h /tmp -p "$port" -U postgres -v ON_ERROR_STOP=1 \
    -c 'SET client_min_messages = warning; CREATE EXTENSION documentdb CASCADE' >&2 || made=1
  inside pg_ctl -D /data/template -m fast -s -w stop
  [ "$made" -eq 0 ] || die "the extension DocumentDB cannot be made"
  touch "$template/.ok"
}

mkdir -p "$dir"
install_tree
install_ferretdb
make_template
