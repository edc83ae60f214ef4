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
#
# Exit status: 0 everything asked for is there; 1 something could not be installed (it says what).
set -euo pipefail

cache="${MALLARD_TEST_CACHE:-${HOME:-/root}/.cache/mallard-test}"
imapflow_version=2.10.2

# package:program that proves it is there
dovecot_packages=(dovecot-imapd:/usr/lib/dovecot/imap dovecot-lmtpd:/usr/lib/dovecot/lmtp)
tool_packages=(gcc:gcc libc6-dev:/usr/include/stdlib.h ca-certificates:/etc/ssl/certs/ca-certificates.crt)
client_packages=(
  swaks:swaks isync:mbsync neomutt:neomutt mutt:mutt offlineimap3:offlineimap curl:curl
  postfix:postfix fetchmail:fetchmail openssl:openssl nodejs:node npm:npm
)

say() { printf 'install: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

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
  # The network may hiccup, and another apt-get may be at work.
  local options=(-qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
  apt-get "${options[@]}" update || say "apt-get update failed; trying with the lists that are there"
  apt-get "${options[@]}" install -y --no-install-recommends "${wanted[@]}" >/dev/null || die "apt-get install failed: ${wanted[*]}"
  release_services
  mapfile -t wanted < <(missing "$@")
  [ "${#wanted[@]}" -eq 0 ] || die "still missing after apt-get: ${wanted[*]}"
}

install_npm() {
  local dir="$cache/npm"
  if [ -f "$dir/node_modules/imapflow/package.json" ] && [ "$(cat "$dir/.version" 2>/dev/null)" = "imapflow@$imapflow_version" ]; then
    return 0
  fi
  command -v npm >/dev/null 2>&1 || die "npm is missing; install nodejs and npm"
  mkdir -p "$dir"
  say "npm install imapflow@$imapflow_version in $dir"
  (cd "$dir" && printf '{"name":"mallard-test","version":"0.0.0","private":true}\n' >package.json &&
    npm install --no-audit --no-fund --loglevel=error --ignore-scripts "imapflow@$imapflow_version" >&2) || die "npm install failed"
  printf 'imapflow@%s\n' "$imapflow_version" >"$dir/.version"
}

install_exim() {
  local dir="$cache/exim"
  if [ ! -x "$dir/usr/sbin/exim4" ]; then
    say "unpacking Exim into $dir"
    mkdir -p "$dir.deb"
    (cd "$dir.deb" && apt-get -qq -o Acquire::Retries=3 -o APT::Sandbox::User=root download exim4-daemon-light >&2) || die "cannot download Exim"
    dpkg -x "$dir.deb"/exim4-daemon-light_*.deb "$dir" || die "cannot unpack Exim"
    rm -rf "$dir.deb"
  fi
  if ldd "$dir/usr/sbin/exim4" | grep -q 'not found'; then
    apt-get -qq -o DPkg::Lock::Timeout=300 install -y --no-install-recommends libgnutls-dane0 libidn12 libnsl2 >/dev/null ||
      die "apt-get install failed: libgnutls-dane0 libidn12 libnsl2"
  fi
}

main() {
  local what="${1:-all}"
  case "$what" in
    all) install_apt "${tool_packages[@]}" "${dovecot_packages[@]}" "${client_packages[@]}"; install_npm; install_exim ;;
    tools) install_apt "${tool_packages[@]}" ;;
    dovecot) install_apt "${dovecot_packages[@]}" ;;
    clients) install_apt "${client_packages[@]}" ;;
    npm) install_npm ;;
    exim) install_exim ;;
    *) die "usage: install.sh [all|tools|dovecot|clients|npm|exim]" ;;
  esac
}

main "$@"
