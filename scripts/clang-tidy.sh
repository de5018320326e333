#!/bin/sh
# clang-tidy over the native sources that the plain cmake build compiles (the addon's need Node's headers), two at a
# time; only files newer than their last clean run are looked at again.
set -eu
cd "$(dirname "$0")/.."
stamps=build-test/tidy
mkdir -p "$stamps"
newest_header=$(find native -name '*.h' -newer "$stamps/headers" 2>/dev/null | head -n 1)
if [ ! -e "$stamps/headers" ] || [ -n "$newest_header" ] || [ .clang-tidy -nt "$stamps/headers" ]; then
  rm -f "$stamps"/*
  touch "$stamps/headers"
fi
find native -name '*.cc' ! -path '*/test/*' ! -path '*/addon/*' | sort | while read -r file; do
  stamp=$stamps/$(echo "$file" | tr / _)
  [ "$stamp" -nt "$file" ] || echo "$file"
done | xargs -r -P 2 -I{} sh -c \
  'clang-tidy --quiet -p build-test --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null && touch "'"$stamps"'/$(echo "$1" | tr / _)"' sh {}
