#!/bin/sh
# Installs a released qrcast: picks the binary for this machine, verifies its checksum, and puts it in place in one step, so that
# a program that is running or a try that fails leaves a whole binary behind.
#
#   QRCAST_RELEASES   where the releases are; a mirror has the files under latest/download/ and download/v1.2.3/
#   QRCAST_VERSION    such as 1.2.3; the latest without it
#   QRCAST_BIN        the folder to install into; /usr/local/bin for root, otherwise ~/.local/bin
#
# Linux on x86_64 and aarch64. Needs curl or wget, tar with gzip, and sha256sum.
set -eu

# Written by .github/workflows/release.yml into the copy that a release has.
releases=""

fail() {
  printf 'install.sh: %s\n' "$*" >&2
  exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# download URL FILE: over HTTPS alone, unless a mirror was named that has none.
download() {
  if has curl; then
    case $1 in
      http://*) set -- "$1" "$2" "=http,https" ;;
      *) set -- "$1" "$2" "=https" ;;
    esac
    curl --fail --silent --show-error --location --retry 3 --proto "$3" --output "$2" "$1"
  elif has wget; then
    wget --quiet --tries=3 --output-document="$2" "$1"
  else
    fail "curl or wget is needed"
  fi || fail "cannot download $1"
}

target() {
  [ "$(uname -s)" = Linux ] || fail "there are binaries for Linux alone, this is $(uname -s); build it: cargo build --profile dist"
  case $(uname -m) in
    x86_64 | amd64) echo x86_64-unknown-linux-musl ;;
    aarch64 | arm64) echo aarch64-unknown-linux-musl ;;
    *) fail "there is no binary for $(uname -m); build it: cargo build --profile dist" ;;
  esac
}

folder() {
  if [ -n "${QRCAST_BIN:-}" ]; then
    echo "$QRCAST_BIN"
  elif [ "$(id -u)" = 0 ]; then
    echo /usr/local/bin
  else
    echo "$HOME/.local/bin"
  fi
}

main() {
  releases=${QRCAST_RELEASES:-$releases}
  [ -n "$releases" ] || fail "QRCAST_RELEASES is not set, and this copy of install.sh is no release's"
  has tar || fail "tar is needed"
  has sha256sum || fail "sha256sum is needed"
  target=$(target)
  bin=$(folder)
  archive=qrcast-$target.tar.gz
  case ${QRCAST_VERSION:-latest} in
    latest) from=$releases/latest/download ;;
    *) from=$releases/download/v${QRCAST_VERSION#v} ;;
  esac

  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  download "$from/$archive" "$work/$archive"
  download "$from/$archive.sha256" "$work/$archive.sha256"
  # The line names the file, so what is checked is what was asked for.
  grep -q "^[0-9a-f]\{64\}  $archive\$" "$work/$archive.sha256" || fail "$from/$archive.sha256 is no checksum of $archive"
  (cd "$work" && sha256sum -c "$archive.sha256" >/dev/null 2>&1) ||
    fail "$archive is not what its checksum says; nothing was installed"
  tar -xzf "$work/$archive" -C "$work" qrcast || fail "$archive has no qrcast"
  version=$("$work/qrcast" --version) || fail "the binary does not run on this machine; nothing was installed"

  mkdir -p "$bin" || fail "cannot make $bin; set QRCAST_BIN"
  # In the same folder first: only a rename within one file system is one step.
  next=$bin/.qrcast.$$
  trap 'rm -rf "$work" "$next"' EXIT
  { cp "$work/qrcast" "$next" && chmod 755 "$next" && mv -f "$next" "$bin/qrcast"; } ||
    fail "cannot write to $bin; run it as root, or set QRCAST_BIN"
  echo "installed $version as $bin/qrcast"
  case :$PATH: in
    *:"$bin":*) ;;
    *) echo "$bin is not in PATH" ;;
  esac
}

# Last, so that half a script does nothing.
main
