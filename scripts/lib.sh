# shellcheck shell=bash
# What the other scripts share; they read it with `.`.

step() { printf '\n== %s\n' "$*"; }

# needs WHAT PACKAGE: installs Debian's package where there is neither a command nor a file of that name, and says so.
needs() {
  # A name with a slash is a file.
  if [[ $1 == */* && -e $1 ]] || command -v "$1" >/dev/null; then return; fi
  step "installing $2, which is needed for $1"
  local root=()
  [ "$(id -u)" = 0 ] || root=(sudo)
  "${root[@]}" apt-get update -qq
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$2"
}

# needs_idle FILE PACKAGE: the same for a package that brings a service of this name along, such as a web server on port 80, of which
# only the program is wanted: the service is started neither now nor with the machine.
needs_idle() {
  if [ -e "$1" ]; then return; fi
  # Debian asks this file whether a service may be started; one that is there already is not ours to change.
  local policy=/usr/sbin/policy-rc.d ours='' root=() failed=0
  [ "$(id -u)" = 0 ] || root=(sudo)
  if [ ! -e "$policy" ]; then
    ours=yes
    printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
    "${root[@]}" chmod 755 "$policy"
  fi
  needs "$1" "$2" || failed=$?
  if [ -n "$ours" ]; then "${root[@]}" rm -f "$policy"; fi
  "${root[@]}" systemctl disable --quiet "$2" 2>/dev/null || true
  return "$failed"
}
