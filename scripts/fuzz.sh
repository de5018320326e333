#!/bin/sh
# Builds and runs every fuzz target for the given number of seconds, from its kept corpus where there is one.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
cmake --build build-fuzz -j2 -- --no-print-directory -s $(node -p "
  JSON.parse(require('fs').readFileSync('native/sources.gypi')).variables.fuzz_sources
    .map((f) => require('path').basename(f, '.cc')).join(' ')")
for source in $(node -p "JSON.parse(require('fs').readFileSync('native/sources.gypi')).variables.fuzz_sources.join(' ')"); do
  name=$(basename "$source" .cc)
  kept=native/test/fuzz/corpus/$name
  work=build-fuzz/corpus/$name
  mkdir -p "$work"
  echo "fuzzing $name for $seconds s"
  if [ -d "$kept" ]; then set -- "$work" "$kept"; else set -- "$work"; fi
  "build-fuzz/$name" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=0 -verbosity=0 "$@"
done
