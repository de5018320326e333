#!/bin/sh
# Runs integration tests with sanitizers, in a copy of the package. Usage: scripts/sanitize.sh address|thread [FILE...]
#   address  addon and shim under AddressSanitizer and UndefinedBehaviorSanitizer
#   thread   the addon under ThreadSanitizer, in Node: its epoll thread and lanes against the JavaScript thread and each
#            other. Node itself is not instrumented: locks that it takes are seen, its own memory is not looked at. The
#            shim has one thread and is the usual one.
set -eu
cd "$(dirname "$0")/.."
kind=$1
shift
[ $# -gt 0 ] || set -- test/integration test/native test/chaos
include=$(node -p "require('path').resolve(process.execPath, '../../include/node')")
build=$PWD/build-sanitize/$kind
tree=$build/tree
reports=$build/reports
case $kind in
  address) option=LIBCONTAINER_SANITIZE targets="libcontainer libcontainer-shim" runtimes="asan ubsan stdc++" ;;
  thread) option=LIBCONTAINER_SANITIZE_THREADS targets=libcontainer runtimes="tsan stdc++" ;;
  *) echo "usage: $0 address|thread [FILE...]" >&2; exit 64 ;;
esac
cmake -S . -B "$build" -D$option=ON -DCMAKE_JS_INC="$include" >/dev/null
cmake --build "$build" --target $targets -j2 -- --no-print-directory -s

rm -rf "$tree" "$reports"
mkdir -p "$tree/build/Release" "$reports"
cp -r lib test examples dist package.json tsconfig.json tsconfig.test.json vitest.config.ts "$tree/"
ln -s "$PWD/node_modules" "$tree/node_modules"
cp build/Release/libcontainer-shim "$tree/build/Release/"
for target in $targets; do
  case $target in libcontainer) target=libcontainer.node ;; esac
  cp "$build/$target" "$tree/build/Release/"
done

# Shims have no standard error; and what Node itself leaks is no business of this.
export ASAN_OPTIONS="detect_leaks=0:log_path=$reports/asan" UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
export TSAN_OPTIONS="log_path=$reports/tsan:exitcode=0:history_size=4"
LD_PRELOAD=
for runtime in $runtimes; do LD_PRELOAD="$LD_PRELOAD $(gcc -print-file-name=lib$runtime.so)"; done
export LD_PRELOAD LIBCONTAINER_SANITIZER=$kind
status=0
(cd "$tree" && node node_modules/vitest/vitest.mjs run "$@") || status=1
unset LD_PRELOAD
if [ -n "$(ls "$reports")" ]; then
  cat "$reports"/*
  status=1
fi
exit $status
