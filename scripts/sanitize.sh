#!/bin/sh
# Runs integration tests with sanitizers, in a copy of the package. Usage: scripts/sanitize.sh address|thread [FILE...]
#   address  addon and shim under AddressSanitizer and UndefinedBehaviorSanitizer
#   thread   the addon under ThreadSanitizer, in Node: its epoll thread and lanes against the JavaScript thread and each
#            other. Node itself is not instrumented: locks that it takes are seen, its own memory is not looked at, and
#            what it and other addons do among themselves is not reported. The shim has one thread and is the usual one.
set -eu
cd "$(dirname "$0")/.."
kind=$1
shift
[ $# -gt 0 ] || set -- test/integration test/faults test/addon test/chaos
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
cp -rp lib cli test examples docs dist README.md package.json tsconfig.json tsconfig.test.json vitest.config.ts "$tree/"
ln -s "$PWD/node_modules" "$tree/node_modules"
cp build/Release/libcontainer-shim "$tree/build/Release/"
for target in $targets; do
  case $target in libcontainer) target=libcontainer.node ;; esac
  cp "$build/$target" "$tree/build/Release/"
done

# Shims have no standard error; what Node itself leaks is no business of this; and tests have malloc(3) fail.
export ASAN_OPTIONS="detect_leaks=0:allocator_may_return_null=1:log_path=$reports/asan" UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports/ubsan"
export TSAN_OPTIONS="log_path=$reports/tsan:exitcode=0:history_size=4:ignore_noninstrumented_modules=1:suppressions=$build/suppressions"
# libuv closes files by a system call that is not seen, so the next one of that number looks like the same.
echo 'race:uv__fs_' >"$build/suppressions"

# Every Node that is started has the runtimes of the sanitizers loaded first; runtimes of containers, shells and strace
# have not, which would take most of the time.
preload=
for runtime in $runtimes; do preload="$preload $(gcc -print-file-name=lib$runtime.so)"; done
node=$(node -p process.execPath)
mkdir "$tree/bin"
cat >"$tree/bin/node" <<END
#!/bin/sh
LD_PRELOAD="$preload" NODE_OPTIONS="--require=$tree/bin/started.cjs \$NODE_OPTIONS" exec $node "\$@"
END
chmod +x "$tree/bin/node"
cat >"$tree/bin/started.cjs" <<END
delete process.env.LD_PRELOAD
const options = (process.env.NODE_OPTIONS ?? '').replace('--require=$tree/bin/started.cjs ', '')
if (options === '') delete process.env.NODE_OPTIONS
else process.env.NODE_OPTIONS = options
process.execPath = '$tree/bin/node'
END
export LIBCONTAINER_SANITIZER=$kind PATH="$tree/bin:$PATH"
status=0
(cd "$tree" && node node_modules/vitest/vitest.mjs run --test-timeout=300000 --hook-timeout=300000 "$@") || status=1

# Between clone(2) and execve(2) a child has a stack that AddressSanitizer has not been told of: it says so, no more.
found=$(cat "$reports"/* 2>/dev/null |
  sed '/ASan is ignoring requested __asan_handle_no_return/,+2d; /WARNING: AddressSanitizer failed to allocate/d')
if [ -n "$found" ]; then
  printf '%s\n' "$found"
  status=1
fi
exit $status
