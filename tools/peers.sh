#!/usr/bin/env bash
# Installs the real mail programs that tests/peers talks to. Needs root on Debian or Ubuntu.
#
# Promises: no service is started (a policy-rc.d forbids it while packages are set up and is gone at the end);
# no installed mail server is replaced (Exim conflicts with Postfix and is only unpacked below .peers/exim; where
# another mail server is installed, Postfix is unpacked below .peers/postfix too); a second run changes nothing
# and asks no network.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'peers: %s\n' "$*"; }

if [ "$(id -u)" -ne 0 ]; then
  say "must run as root; without it the tests in tests/peers are skipped with the reason"
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  say "needs apt-get (Debian or Ubuntu)"
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive

readonly policy=/usr/sbin/policy-rc.d
saved=""
policy_written=""

forbid_services() {
  [ -z "$policy_written" ] || return 0
  if [ -e "$policy" ]; then
    saved="$(mktemp -d)/policy-rc.d"
    cp -a "$policy" "$saved"
  fi
  policy_written=yes
  rm -f "$policy"
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}

restore() {
  [ -n "$policy_written" ] || return 0
  rm -f "$policy"
  if [ -n "$saved" ]; then
    cp -a "$saved" "$policy"
    rm -rf "$(dirname "$saved")"
  fi
}
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null | cut -c1-2)" = ii ]; }

# The installed package that provides a mail server, if any. (awk reads to the end: who stops early ends the writer
# by SIGPIPE, and pipefail makes that a failure.)
mail_server() {
  dpkg-query -W -f '${db:Status-Abbrev}|${Package}|${Provides}\n' | awk -F'|' '$1 ~ /^ii/ && $3 ~ /mail-transport-agent/ && !found {print $2; found = 1}'
}

known=""
refresh() { # package lists are fetched only when something has to be installed
  [ -z "$known" ] || return 0
  known=yes
  apt-get update -qq || say "package lists could not be refreshed; going on with those at hand"
}

add() {
  refresh
  forbid_services
  apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "$@" >/dev/null
}

# Unpacks packages below .peers/NAME without installing them.
unpack() {
  local name=$1
  shift
  local target=".peers/$name"
  if [ -e "$target/.unpacked" ]; then
    return 0
  fi
  refresh
  rm -rf "$target"
  mkdir -p "$target/packages"
  chmod 755 .peers "$target"
  # apt's download user may not be able to write here, hence the copy by way of a folder of its own.
  local folder
  folder="$(mktemp -d)"
  chmod 777 "$folder"
  (cd "$folder" && apt-get download -qq "$@")
  mv "$folder"/*.deb "$target/packages/"
  rmdir "$folder"
  local package
  for package in "$target"/packages/*.deb; do
    dpkg -x "$package" "$target"
  done
  printf '%s\n' "$@" >"$target/.unpacked"
}

system_user() {
  getent group "$1" >/dev/null || groupadd --system "$1"
  getent passwd "$1" >/dev/null ||
    useradd --system --gid "$1" --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin "$1"
}

missing=()
for package in swaks libnet-ssleay-perl strace curl systemd opendkim opendkim-tools dovecot-lmtpd pgbouncer; do
  installed "$package" || missing+=("$package")
done

present="$(mail_server)"
if [ -z "$present" ] && [ -z "${PEERS_UNPACK:-}" ]; then
  # No configuration file is written, so the installed service has nothing to run even if it were started.
  printf 'postfix postfix/main_mailer_type select No configuration\n' | debconf-set-selections
  missing+=(postfix)
elif [ "$present" != postfix ] || [ -n "${PEERS_UNPACK:-}" ]; then
  say "${present:-(PEERS_UNPACK)} stays as it is; Postfix is unpacked below .peers/postfix"
  add libdb5.3 libicu72 libnsl2 libsasl2-2 libssl3
  unpack postfix postfix
  system_user postfix
  getent group postdrop >/dev/null || groupadd --system postdrop
fi

for package in libidn12 libgnutls-dane0 libnsl2 libpcre2-8-0 libdb5.3 liblua5.3-0 libopentracing-c-wrapper0; do
  installed "$package" || missing+=("$package")
done
# Tests make clusters of their own; the package would make one too and is told not to.
if [ -z "$(ls -d /usr/lib/postgresql/*/bin/postgres 2>/dev/null)" ]; then
  mkdir -p /etc/postgresql-common
  [ -e /etc/postgresql-common/createcluster.conf ] ||
    printf 'create_main_cluster = false\n' >/etc/postgresql-common/createcluster.conf
  missing+=(postgresql)
fi
# The programs alone, without the package that makes a database and a service: tests make their own.
[ -x /usr/sbin/mariadbd ] || missing+=(mariadb-server-core)
[ -x /usr/bin/redis-server ] || missing+=(redis-server)

[ "${#missing[@]}" -eq 0 ] || add "${missing[@]}"

unpack exim exim4-base exim4-daemon-light
unpack haproxy haproxy
unpack microsocks microsocks
system_user Debian-exim

find_program() { # the first of these that is executable
  local candidate
  for candidate in "$@"; do
    if [ -x "$candidate" ]; then
      printf '%s' "$candidate"
      return 0
    fi
  done
  say "missing: $1"
  return 1
}
say "postfix: $(find_program /usr/sbin/postfix .peers/postfix/usr/sbin/postfix)"
say "smtp-source: $(find_program /usr/sbin/smtp-source .peers/postfix/usr/sbin/smtp-source)"
say "exim: $(find_program .peers/exim/usr/sbin/exim4) ($(.peers/exim/usr/sbin/exim4 -C /dev/null -bV 2>/dev/null | sed -n 1p))"
say "haproxy: $(.peers/haproxy/usr/sbin/haproxy -v | sed -n 1p)"
say "microsocks: $(find_program .peers/microsocks/usr/bin/microsocks)"
say "postgres: $(find_program /usr/lib/postgresql/*/bin/postgres)"
say "mariadb: $(find_program /usr/sbin/mariadbd) ($(/usr/sbin/mariadbd --version | awk '{print $3}'))"
say "redis: $(find_program /usr/bin/redis-server) ($(/usr/bin/redis-server --version | awk '{print $3}'))"
say "pgbouncer: $(find_program /usr/sbin/pgbouncer)"
say "opendkim: $(find_program /usr/sbin/opendkim)"
say "dovecot: $(find_program /usr/lib/dovecot/lmtp) ($(/usr/sbin/dovecot --version))"
say "swaks: $(command -v swaks), strace: $(command -v strace), curl: $(command -v curl)"
