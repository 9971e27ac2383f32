#!/bin/sh
# Installs a bundle of tvmkd on this machine. POSIX sh and the tools of a bare system are enough.
#
#   sh install.sh                          installs the bundle that this file lies in
#   sh install.sh BUNDLE.tar.gz            checks an archive before anything of it is run
#   sh install.sh rollback | status | self-test | uninstall [NAME]
#   sh install.sh trust KEY                from now on only bundles that KEY signed are installed
#
#   --root DIR     where everything is kept (default: where this file was installed, else /opt/tvmkd)
#   --pubkey FILE  the first installation: the publisher's key (minisign's format)
#   --keep N       versions to keep (default: 3)
#   --no-service   no systemd unit
#
# A version is put beside the older ones, checked and run there on a recorded input; then one rename
# makes it the current one. Whatever stops this script, one version works afterwards.
#
#   ROOT/bin/install.sh, tvmkd-tool     of the newest bundle: they check the next one
#   ROOT/trust/publisher.pub            the key that all bundles have to be signed with
#   ROOT/NAME/versions/VERSION/         .replaced in it: the version before it
#   ROOT/NAME/current                   a link to one of them
#
# Exit codes: 0 done, 1 the self-test failed, 2 wrong usage, 4 the bundle cannot be used, 5 something
# is missing here.
set -eu
umask 022
LC_ALL=C
export LC_ALL
here=$(cd "$(dirname "$0")" && pwd -P)
case $here in # where this file was installed, if it was
  */bin) root=${here%/bin} ;;
  */*/versions/*) root=${here%/*/versions/*} ;;
  *) root='' ;;
esac
[ -n "$root" ] && [ -e "$root/.lock" ] || root=/opt/tvmkd
pubkey='' keep=3 service=yes verb=install name='' bundle='' draft=''
run=${TVMKD_EMULATOR:-} # what runs the board's programs in a test: "qemu-aarch64 -L DIR"

say() { echo "tvmkd-install: $*"; }
fail() { # CODE MESSAGE
  code=$1
  shift
  echo "tvmkd-install: error: $*" >&2
  exit "$code"
}
field() { sed -n "s/^$1=//p" "$2/BUNDLE" | head -n 1; }
plain() { # TEXT: whether it can be a file's name here
  case $1 in '' | .* | -* | bin | trust | *[!A-Za-z0-9._+-]*) return 1 ;; esac
}

read_options() {
  while [ $# -gt 0 ]; do
    case $1 in
      --root | --pubkey | --keep)
        [ $# -gt 1 ] || fail 2 "$1 wants a value"
        case $1 in --root) root=$2 ;; --pubkey) pubkey=$2 ;; --keep) keep=$2 ;; esac
        shift
        ;;
      --no-service) service=no ;;
      -h | --help) sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" && exit 0 ;;
      -*) fail 2 "$1: there is no such option; see --help" ;;
      install | rollback | status | self-test | uninstall | trust) verb=$1 ;;
      *) if [ "$verb" = install ] || [ "$verb" = trust ]; then bundle=$1; else name=$1; fi ;;
    esac
    shift
  done
  case $root in
    /*) ;;
    *) root=$PWD/$root ;;
  esac
  case $root in *[!A-Za-z0-9._/+-]*) fail 2 "--root $root: give a path of plain letters and digits" ;; esac
  case $keep in '' | *[!0-9]* | 0 | 1) fail 2 "--keep $keep: give a number from 2 on" ;; esac
}

# --- the installed versions ---

current() { # prints the folder's name of the current version; nothing: there is none
  [ -e "$home/current/BUNDLE" ] && readlink "$home/current" | sed 's|.*/||'
}

find_home() { # sets name and home
  if [ -z "$name" ] && [ -e "$here/BUNDLE" ]; then name=$(field name "$here"); fi
  if [ -z "$name" ]; then
    for link in "$root"/*/current; do
      [ -h "$link" ] || continue
      [ -z "$name" ] || fail 2 "several models are installed in $root: give the name of one"
      name=$(basename "$(dirname "$link")")
    done
  fi
  plain "$name" || fail 4 "nothing is installed in $root"
  home=$root/$name
  [ -h "$home/current" ] || fail 4 "$name is not installed in $root"
}

lock() {
  mkdir -p "$root" 2>/dev/null || fail 4 "$root: cannot be written; run this as root or give --root"
  [ -w "$root" ] || fail 4 "$root: cannot be written; run this as root or give --root"
  command -v flock >/dev/null 2>&1 || return 0
  exec 9>"$root/.lock"
  flock -n 9 || fail 4 "another installation is running in $root; try again when it has ended"
}

sweep() { # what an interrupted installation left
  rm -rf "$root/.incoming" "$root"/*/versions/.removed "$root"/*/.current.new
}

# --- the checks ---

check_machine() { # FOLDER
  [ "$(field format "$1")" = 1 ] || fail 4 "this bundle has a format that this installer does not know"
  wanted=$(field architecture "$1")
  machine=${TVMKD_MACHINE:-$(uname -m)}
  [ "$machine" = "$wanted" ] ||
    fail 4 "this bundle is for $wanted and this machine is $machine: build it for a target that fits"
  libc=$(field glibc "$1")
  has=$(getconf GNU_LIBC_VERSION 2>/dev/null | sed 's/.* //') || has=''
  if [ -n "$has" ] && [ -z "$run" ]; then
    oldest=$(printf '%s\n%s\n' "$has" "$libc" | sort -t . -k 1,1n -k 2,2n | head -n 1)
    [ "$oldest" = "$libc" ] || fail 4 "this bundle needs glibc $libc and this machine has $has"
  fi
}

check_space() { # BYTES
  free=$(df -Pk "$root" | awk 'NR == 2 { print $4 }')
  need=$(($1 / 1024 + 1024))
  [ -z "$free" ] || [ "$free" -ge "$need" ] ||
    fail 4 "$root: $need KiB are needed and $free are free: free some space, or give a smaller --keep"
}

check_files() { # FOLDER: each file is there as its checksum says, and no other
  [ -s "$1/SHA256SUMS" ] || fail 4 "the bundle has no checksums"
  odd=$(find "$1" ! -type f ! -type d | head -n 1)
  [ -z "$odd" ] || fail 4 "the bundle holds a link or a device, which no bundle of tvmkd does"
  bad=$(cd "$1" && sha256sum -c SHA256SUMS 2>/dev/null | sed -n 's/: FAILED.*//p' | head -n 1) || bad=''
  [ -z "$bad" ] || fail 4 "the bundle is damaged or was changed: $bad does not have its checksum"
  listed=$(cut -c 67- "$1/SHA256SUMS" | sort)
  found=$(cd "$1" && find . -type f ! -name '.replaced*' | sed 's|^\./||;/^SHA256SUMS/d' | sort)
  [ "$listed" = "$found" ] || fail 4 "the bundle's files are not those that its checksums list"
}

check_signature() { # FOLDER: with the pinned key; sets trusted, the key to pin
  trusted='' tool=$1/bin/tvmkd-tool
  signature=$1/SHA256SUMS.minisig
  if [ -e "$root/trust/publisher.pub" ]; then
    trusted=$root/trust/publisher.pub tool=$root/bin/tvmkd-tool
    [ -e "$signature" ] ||
      fail 4 "the bundle is not signed, and this board installs only what $root/trust/publisher.pub signed"
  elif [ -n "$pubkey" ]; then
    trusted=$pubkey
    [ -e "$trusted" ] || fail 4 "$trusted: there is no such key"
    [ -e "$signature" ] || fail 4 "the bundle is not signed; --pubkey wants a signed one"
  elif [ -e "$signature" ]; then
    trusted=$1/publisher.pub
    say "first installation without --pubkey: the bundle's own key and verifier are trusted;" \
      "key $(sed -n 2p "$trusted")"
  else
    say "the bundle is not signed"
    return 0
  fi
  comment=$($run "$tool" verify "$trusted" "$1/SHA256SUMS" "$signature" 2>&1) ||
    fail 4 "the signature is not right: ${comment#tvmkd-tool: }"
  say "signature: $comment"
}

within() { # SECONDS COMMAND...
  if timeout 9 true 2>/dev/null; then set -- timeout "$@"; else shift; fi
  "$@"
}

self_test() { # FOLDER: a recorded input has to give the recorded output
  said=$(within 300 $run "$1/bin/tvmkd-run" "$1/$(field library "$1")" --inputs "$1/self-test/inputs" \
    --compare "$1/self-test/outputs" --tolerance "$(field tolerance "$1")" 2>&1) ||
    fail 1 "the self-test of $(field name "$1") $(field version "$1") failed: $said"
  say "self-test: $said"
}

# --- the service ---

has_systemd() {
  [ "$service" = yes ] && [ -d "${TVMKD_SYSTEMD_RUN:-/run/systemd/system}" ] &&
    [ -w "$units" ] && command -v systemctl >/dev/null 2>&1
}

start_service() { # installs the unit of the current version and restarts it
  if ! has_systemd; then
    # The unit's own words: the name in URLs is among them.
    command=$(sed -n "s|@HOME@|$home|g; s/ [\$]TVMKD_SERVE\$//; s/^ExecStart=//p" "$home/current/tvmkd.service")
    say "no service: $([ "$service" = no ] && echo '--no-service was given' || echo 'no systemd, or not root');" \
      "start it with: $command"
    return 0
  fi
  unit=tvmkd-$name.service
  sed "s|@HOME@|$home|g" "$home/current/tvmkd.service" >"$units/.$unit.new"
  mv -f "$units/.$unit.new" "$units/$unit"
  systemctl daemon-reload && systemctl enable "$unit" >/dev/null 2>&1 && systemctl restart "$unit" || return 1
  # A server that cannot start is not active for long: systemd starts it again and again.
  left=${TVMKD_SETTLE:-30}
  until [ "$left" = 0 ] || is_ready; do
    sleep 1
    systemctl is-active --quiet "$unit" || return 1
    left=$((left - 1))
    [ "$left" -gt 0 ] || return 1
  done
  systemctl is-active --quiet "$unit" || return 1
  say "service: $unit is ready"
}

is_ready() { # whether the server answers; its options are those that systemd gives it
  options=$(sed -n 's/^TVMKD_SERVE=//p' "$home/server.env" 2>/dev/null | tail -n 1) || options=''
  [ -n "$options" ] ||
    options=$(sed -n 's/^Environment="TVMKD_SERVE=\(.*\)"$/\1/p' "$home/current/tvmkd.service")
  # shellcheck disable=SC2086
  within 5 $run "$home/current/bin/tvmkd-server" --health $options 2>/dev/null
}

# --- the commands ---

unpack() { # puts the bundle to $draft
  if [ -z "$bundle" ]; then
    bundle=$here
    [ -e "$here/SHA256SUMS" ] || fail 2 "give the bundle: sh install.sh BUNDLE.tar.gz"
  fi
  if [ -d "$bundle" ]; then
    [ -e "$bundle/BUNDLE" ] || fail 4 "$bundle: is no bundle of tvmkd"
    check_machine "$bundle"
    check_space "$(($(du -sk "$bundle" | cut -f 1) * 1024))"
    mkdir -p "$root/.incoming"
    cp -R "$bundle/." "$draft" || fail 4 "$root: cannot be written: is the disk full?"
  else
    [ -e "$bundle" ] || fail 4 "$bundle: there is no such bundle"
    names=$(tar -tzf "$bundle" 2>/dev/null) || fail 4 "$bundle: is no .tar.gz, or it was cut short"
    [ -z "$(echo "$names" | grep -E '^/|(^|/)\.\.(/|$)' | head -n 1)" ] ||
      fail 4 "$bundle: holds paths that lead out of it"
    [ -z "$(tar -tvzf "$bundle" 2>/dev/null | grep -v '^[-d]' | head -n 1)" ] ||
      fail 4 "$bundle: holds a link or a device, which no bundle of tvmkd does"
    top=${names%%/*}
    plain "$top" || fail 4 "$bundle: is no bundle of tvmkd"
    check_space "$(gzip -dc "$bundle" | wc -c)"
    mkdir -p "$root/.incoming"
    tar -xzof "$bundle" -C "$root/.incoming" || fail 4 "$root: cannot be written: is the disk full?"
    [ "$top" = bundle ] || mv "$root/.incoming/$top" "$draft"
    [ -e "$draft/BUNDLE" ] || fail 4 "$bundle: is no bundle of tvmkd"
    check_machine "$draft"
  fi
  chmod -R u=rwX,go=rX "$draft"
}

place() { # moves $draft among the versions; sets folder, its name there
  folder=$version number=2
  while [ -e "$home/versions/$folder" ]; do
    there=$home/versions/$folder
    if cmp -s "$there/SHA256SUMS" "$draft/SHA256SUMS"; then
      if (check_files "$there") 2>/dev/null; then
        say "$name $version is there already and undamaged"
        mark "$there"
        rm -rf "$root/.incoming"
        return 0
      fi
      # Repaired beside the damaged one: that may be the current one.
      folder=$version+$number number=$((number + 1))
    else
      fail 4 "$name $version is installed with other contents: give this bundle another version"
    fi
  done
  mark "$draft"
  mkdir -p "$home/versions"
  $run "$draft/bin/tvmkd-tool" sync "$root"
  mv "$draft" "$home/versions/$folder"
  $run "$home/versions/$folder/bin/tvmkd-tool" sync "$root"
}

mark() { # FOLDER: notes there which version it replaces
  before=$(current) || before=''
  if [ -n "$before" ] && [ "$before" != "$folder" ]; then
    echo "$before" >"$1/.replaced.new" && mv -f "$1/.replaced.new" "$1/.replaced" ||
      fail 4 "$root: cannot be written: is the disk full?"
  fi
}

keep_tools() { # the installer, the verifier and the key that check the next bundle
  mkdir -p "$root/bin" "$root/trust"
  if [ -n "$trusted" ] && [ ! -e "$root/trust/publisher.pub" ]; then
    [ -e "$trusted" ] || trusted=$home/versions/$folder/publisher.pub # the bundle's own has moved
    cp "$trusted" "$root/trust/.publisher.pub.new"
    chmod 644 "$root/trust/.publisher.pub.new"
  fi
  for each in bin/tvmkd-tool install.sh; do
    cmp -s "$home/versions/$folder/$each" "$root/bin/${each##*/}" && continue
    cp "$home/versions/$folder/$each" "$root/bin/.new" && mv -f "$root/bin/.new" "$root/bin/${each##*/}" ||
      fail 4 "$root: cannot be written: is the disk full?"
  done
  # The key last: where it is, the verifier is.
  $run "$root/bin/tvmkd-tool" sync "$root"
  if [ -e "$root/trust/.publisher.pub.new" ]; then
    mv -f "$root/trust/.publisher.pub.new" "$root/trust/publisher.pub"
    say "from now on this board installs only what this key signed: $root/trust/publisher.pub"
  fi
}

prune() { # keeps the current version, those before it, then the newest
  kept=0 at=$(current) wanted=' '
  while [ -n "$at" ] && [ "$kept" -lt "$keep" ] && [ -d "$home/versions/$at" ]; do
    case $wanted in *" $at "*) break ;; esac
    wanted="$wanted$at " kept=$((kept + 1))
    at=$(cat "$home/versions/$at/.replaced" 2>/dev/null) || at=''
  done
  # The names are plain: see `plain`.
  # shellcheck disable=SC2045
  for at in $(ls -t "$home/versions"); do
    case $wanted in *" $at "*) continue ;; esac
    if [ "$kept" -lt "$keep" ]; then
      kept=$((kept + 1))
    else
      mv "$home/versions/$at" "$home/versions/.removed"
      rm -rf "$home/versions/.removed"
      say "removed $name $at"
    fi
  done
}

switch_to() { # FOLDER: makes it the current one
  $run "$home/versions/$1/bin/tvmkd-tool" switch "versions/$1" "$home/current"
}

install_bundle() {
  draft=$root/.incoming/bundle
  lock
  trap 'rm -rf "$root/.incoming"' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  sweep
  unpack
  check_files "$draft"
  check_signature "$draft"
  name=$(field name "$draft") version=$(field version "$draft")
  plain "$name" && plain "$version" || fail 4 "the bundle's name or version is none: $name $version"
  home=$root/$name
  self_test "$draft"
  place
  keep_tools
  before=$(current) || before=''
  switch_to "$folder"
  if ! start_service; then
    if [ -n "$before" ] && [ "$before" != "$folder" ]; then
      switch_to "$before"
      start_service || true
      fail 1 "the server of $name $version does not start: went back to $before (journalctl -u tvmkd-$name)"
    fi
    fail 1 "the server of $name $version does not start: journalctl -u tvmkd-$name"
  fi
  prune
  say "$name $version is installed in $home/versions/$folder"
}

rollback() {
  find_home
  lock
  sweep
  now=$(current) || fail 4 "$name: the current version is gone; install one"
  before=$(cat "$home/current/.replaced" 2>/dev/null) || before=''
  plain "$before" && [ -d "$home/versions/$before" ] ||
    fail 4 "$name: no version from before $now is kept"
  (check_files "$home/versions/$before") || fail 4 "$name $before is damaged: stayed with $now"
  self_test "$home/versions/$before"
  switch_to "$before"
  start_service || fail 1 "the server of $name $before does not start: journalctl -u tvmkd-$name"
  say "went back from $name $now to $before"
}

status() { # one KEY=VALUE a line, for people and for tvmkd deploy push
  find_home
  now=$(current) || fail 4 "$name: the current version is gone; install one"
  echo "name=$name"
  echo "version=$(field version "$home/current")"
  echo "folder=$home/versions/$now"
  echo "before=$(cat "$home/current/.replaced" 2>/dev/null || true)"
  echo "kept=$(cd "$home/versions" && echo *)"
  echo "signed_by=$(sed -n 2p "$root/trust/publisher.pub" 2>/dev/null || true)"
  pid=''
  if has_systemd; then pid=$(systemctl show -p MainPID "tvmkd-$name.service" 2>/dev/null | sed 's/.*=//'); fi
  case $pid in '' | 0) echo "running=" ;; *)
    # What runs, not what should: the program of the process.
    echo "running=$(readlink "/proc/$pid/exe" 2>/dev/null | sed "s|^$home/versions/||;s|/.*||")"
    ;;
  esac
}

uninstall() {
  find_home
  lock
  if has_systemd && [ -e "$units/tvmkd-$name.service" ]; then
    systemctl disable --now "tvmkd-$name.service" >/dev/null 2>&1 || true
    rm -f "$units/tvmkd-$name.service"
    systemctl daemon-reload
  fi
  if [ -e "$home/current/power.sh" ]; then sh "$home/current/power.sh" restore || true; fi
  rm -f "$home/current"
  rm -rf "$home"
  say "removed $name; the key and the installer stay in $root/trust and $root/bin"
}

trust() {
  [ -e "$bundle" ] || fail 2 "give the key: sh install.sh trust KEY"
  [ -e "$root/bin/tvmkd-tool" ] || fail 4 "nothing is installed in $root: give --pubkey with the first bundle"
  lock
  code=0
  why=$($run "$root/bin/tvmkd-tool" verify "$bundle" /dev/null /dev/null 2>&1) || code=$?
  [ "$code" = 1 ] || fail 4 "${why#tvmkd-tool: }" # 1: the key is one, and nothing is no signature
  mkdir -p "$root/trust"
  cp "$bundle" "$root/trust/.publisher.pub.new"
  mv -f "$root/trust/.publisher.pub.new" "$root/trust/publisher.pub"
  say "from now on this board installs only what this key signed: $(sed -n 2p "$root/trust/publisher.pub")"
}

read_options "$@"
units=${TVMKD_UNITS:-/etc/systemd/system}
case $verb in
  install) install_bundle ;;
  rollback) rollback ;;
  status) status ;;
  self-test) find_home && check_files "$home/current/." && self_test "$home/current" ;;
  uninstall) uninstall ;;
  trust) trust ;;
esac
