#!/bin/sh
# Runs integration tests with an addon and a shim under AddressSanitizer and UndefinedBehaviorSanitizer, in a copy of
# the package. Usage: scripts/sanitize.sh [FILE...]
set -eu
cd "$(dirname "$0")/.."
include=$(node -p "require('path').resolve(process.execPath, '../../include/node')")
cmake -S . -B build-sanitize -DLIBCONTAINER_SANITIZE=ON -DCMAKE_JS_INC="$include" >/dev/null
cmake --build build-sanitize --target libcontainer libcontainer-shim -j2 -- --no-print-directory -s

tree=$PWD/build-sanitize/tree
rm -rf "$tree"
mkdir -p "$tree/build/Release"
cp -r lib test examples dist package.json tsconfig.json tsconfig.test.json vitest.config.ts "$tree/"
ln -s "$PWD/node_modules" "$tree/node_modules"
cp build-sanitize/libcontainer.node build-sanitize/libcontainer-shim "$tree/build/Release/"

# Shims have no standard error; and what Node itself leaks is no business of this.
reports=$PWD/build-sanitize/reports
rm -rf "$reports"
mkdir "$reports"
export ASAN_OPTIONS="detect_leaks=0:log_path=$reports/asan" UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so) $(gcc -print-file-name=libstdc++.so)"
export LD_PRELOAD
status=0
(cd "$tree" && node node_modules/vitest/vitest.mjs run "${@:-test/integration}") || status=1
unset LD_PRELOAD
if [ -n "$(ls "$reports")" ]; then
  cat "$reports"/*
  status=1
fi
exit $status
