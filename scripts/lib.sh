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
