#!/bin/sh
# Unpacks Debian packages of any architecture into DIRECTORY, which is made whole or not at all; they are not installed.
# Does nothing when DIRECTORY has them: its name should say which they are.
# Usage: scripts/debian-unpack.sh [--depends] DIRECTORY SUITE ARCHITECTURE PACKAGE...
#   --depends   with all that they depend on: a root filesystem (no script of theirs is run)
set -eu
depends=
if [ "$1" = --depends ]; then
  depends=1
  shift
fi
directory=$1 suite=$2 architecture=$3
shift 3
[ ! -e "$directory" ] || exit 0
here=$(dirname "$(readlink -f "$0")")
mkdir -p "$(dirname "$directory")"
exec 9>"$directory.lock"
flock 9
[ ! -e "$directory" ] || exit 0 # another was quicker
work=$(mktemp -d "$directory.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
conf=$("$here/debian-suite.sh" "$work/apt" "$suite" "$architecture")
if [ "$depends" ]; then
  apt-get -qq -y -c "$conf" --download-only --no-install-recommends install "$@" >&2
  mv "$work"/apt/cache/archives/*.deb "$work"
else
  (cd "$work" && apt-get -qq -c "$conf" download "$@") >&2
fi
mkdir "$work/tree"
for package in "$work"/*.deb; do
  dpkg -x "$package" "$work/tree"
done
mv "$work/tree" "$directory"
