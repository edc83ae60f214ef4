#!/usr/bin/env bash
# A private Dovecot beside whatever the machine runs: own configuration, ports on loopback, state and log in one
# directory, any user name with one password. All other settings are Debian's defaults, fsync among them.
#
#   dovecot.sh start mdbox|maildir DIR [IMAPPORT LMTPPORT]   start (or restart) it; prints what a benchmark needs
#   dovecot.sh stop DIR                                      stop it, by its pid
#   dovecot.sh show DIR                                      print again what start printed
#
# DOVECOT_PASSWORD sets the password, DOVECOT_AUTO=create makes the special mailboxes of new users.
#
# Needs root: Dovecot drops privileges by itself. DIR is made if it is not there, and must be reachable for others
# (not below /root). Mail is in DIR/mail; it outlives a restart. Exit status 0 only if the server answers.
set -euo pipefail

password="${DOVECOT_PASSWORD:-bench-password}"
mail_user=nobody

die() { printf 'dovecot.sh: %s\n' "$*" >&2; exit 1; }

configure() {
  local format="$1" dir="$2" imap="$3" lmtp="$4" location
  case "$format" in
    mdbox) location="mdbox:~/mdbox" ;;
    maildir) location="maildir:~/Maildir" ;;
    *) die "no format $format: mdbox or maildir" ;;
  esac
  install -d -m 755 "$dir" "$dir/run" "$dir/state"
  install -d -m 700 -o "$mail_user" "$dir/mail"
  cat >"$dir/dovecot.conf" <<CONF
base_dir = $dir/run
state_dir = $dir/state
log_path = $dir/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain login
first_valid_uid = 1
mail_location = $location
passdb {
  driver = static
  args = password=$password
}
userdb {
  driver = static
  args = uid=$mail_user gid=nogroup home=$dir/mail/%n allow_all_users=yes
}
namespace inbox {
  inbox = yes
  mailbox Drafts {
    special_use = \\Drafts
    auto = ${DOVECOT_AUTO:-no}
  }
  mailbox Junk {
    special_use = \\Junk
    auto = ${DOVECOT_AUTO:-no}
  }
  mailbox Trash {
    special_use = \\Trash
    auto = ${DOVECOT_AUTO:-no}
  }
  mailbox Sent {
    special_use = \\Sent
    auto = ${DOVECOT_AUTO:-no}
  }
}
service imap-login {
  inet_listener imap {
    address = 127.0.0.1
    port = $imap
  }
  inet_listener imaps {
    port = 0
  }
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = $lmtp
  }
}
CONF
  printf 'DOVECOT_FORMAT=%s\nDOVECOT_IMAP=127.0.0.1:%s\nDOVECOT_LMTP=127.0.0.1:%s\n' "$format" "$imap" "$lmtp" >"$dir/addresses"
}

pid_of() { cat "$1/run/master.pid" 2>/dev/null || true; }

running() { [ -n "$1" ] && kill -0 "$1" 2>/dev/null && grep -qa dovecot "/proc/$1/cmdline"; }

answers() { (exec 3<>"/dev/tcp/${1%:*}/${1#*:}" && head -c 4 <&3 >/dev/null) 2>/dev/null; }

start() {
  local format="$1" dir="$2" imap="${3:-31143}" lmtp="${4:-31024}"
  command -v dovecot >/dev/null 2>&1 || die "dovecot is not installed: run $(dirname "$0")/install.sh dovecot"
  [ "$(id -u)" -eq 0 ] || die "must be root"
  stop "$dir"
  configure "$format" "$dir" "$imap" "$lmtp"
  # Its own output goes to a file: the daemon would keep the caller's pipe open.
  dovecot -c "$dir/dovecot.conf" >"$dir/start.log" 2>&1 </dev/null || die "did not start: $(cat "$dir/start.log")"
  local _
  for _ in $(seq 100); do
    if answers "127.0.0.1:$imap" && answers "127.0.0.1:$lmtp"; then
      show "$dir"
      return 0
    fi
    sleep 0.1
  done
  die "does not answer on ports $imap and $lmtp; see $dir/dovecot.log"
}

stop() {
  local pid _
  pid="$(pid_of "$1")"
  running "$pid" || return 0
  kill "$pid"
  for _ in $(seq 100); do
    running "$pid" || return 0
    sleep 0.1
  done
  kill -9 "$pid"
}

show() {
  cat "$1/addresses"
  printf 'DOVECOT_PID=%s\nDOVECOT_DATA=%s/mail\nDOVECOT_PASSWORD=%s\n' "$(pid_of "$1")" "$1" "$password"
}

case "${1:-}" in
  start) [ $# -ge 3 ] || die "usage: dovecot.sh start mdbox|maildir DIR [IMAPPORT LMTPPORT]"; start "${@:2}" ;;
  stop) [ $# -eq 2 ] || die "usage: dovecot.sh stop DIR"; stop "$2" ;;
  show) [ $# -eq 2 ] || die "usage: dovecot.sh show DIR"; show "$2" ;;
  *) die "usage: dovecot.sh start|stop|show ..." ;;
esac
