#!/bin/sh
# All that has to hold before a version is published, beside `make test`; it takes half an hour on two cores.
# Usage: scripts/release-check.sh [STEP...]     one or some of the steps below; all of them without one
set -eu
cd "$(dirname "$0")/.."

# The same version everywhere, and a chapter on it in the changelog.
step_version() {
  node -e '
    const fs = require("fs")
    const { name, version } = require("./package.json")
    const lock = require("./package-lock.json")
    const wrong = []
    if (!/^\d+\.\d+\.\d+$/.test(version)) wrong.push(`${version} is no release`)
    if (lock.version !== version || lock.packages[""].version !== version) wrong.push(`package-lock.json has ${lock.version}`)
    const chapter = new RegExp(`^## \\[?v?${version.replaceAll(".", "\\.")}\\]?( .*)?\\n+(.+)`, "m").exec(fs.readFileSync("CHANGELOG.md", "utf8"))
    if (!chapter || chapter[2].startsWith("## ")) wrong.push(`CHANGELOG.md says nothing of ${version}`)
    console.log(wrong.length ? wrong.join("\n") : `${name} ${version}`)
    process.exit(wrong.length ? 1 : 0)'
}

step_binaries() {
  scripts/prebuild.sh
  node scripts/check-binaries.mjs
}

# Built again in another directory, from the files that git has, every binary has the same bytes.
step_reproducible() {
  again=$(mktemp -d "${TMPDIR:-/tmp}/libcontainer-again.XXXXXX")/some/other/directory
  mkdir -p "$again"
  git ls-files -z | xargs -0 cp --parents -t "$again"
  ln -s "$PWD/node_modules" "$again/node_modules"
  status=0
  (cd "$again" && scripts/prebuild.sh) >"$again.log" 2>&1 || {
    tail -n 30 "$again.log"
    status=1
  }
  for file in prebuilds/*/*; do
    if cmp "$file" "$again/$file"; then sha256sum "$file"; else status=1; fi
  done
  rm -rf "${again%/some/other/directory}"
  return "$status"
}

step_package() {
  npx publint --strict
  npx attw --pack . --no-color --format ascii
}

# In every Node that it is for, in Bun, with musl, and compiled from the packed sources.
step_runs() {
  CI=true npx vitest run test/release
  CI=true npx vitest run --config test/release/vitest.config.ts
}

# The other tests run with what node-gyp has built; here with the binaries that are shipped.
step_shipped() {
  tree=build-prebuild/x64-tree
  rm -rf "$tree"
  mkdir -p "$tree/build/Release"
  cp -rp lib cli test examples docs dist README.md package.json tsconfig.json tsconfig.test.json vitest.config.ts "$tree"
  ln -s "$PWD/node_modules" "$tree/node_modules"
  cp prebuilds/linux-x64/libcontainer.node prebuilds/linux-x64/libcontainer-shim "$tree/build/Release"
  (cd "$tree" && CI=true npx vitest run test/integration test/faults test/addon)
}

step_arm64() {
  test/vm/suite-arm64 --quick
}

[ $# -gt 0 ] || set -- version binaries reproducible package runs shipped arm64
failed=
for step in "$@"; do
  echo "# $step"
  begun=$(date +%s)
  # Each in a shell of its own, where the first failure ends it (which it would not as an `if`'s condition).
  set +e
  (set -e; "step_$step")
  if [ $? = 0 ]; then word=ok; else word=FAILED; fi
  set -e
  echo "# $step: $word, $(($(date +%s) - begun)) s"
  [ "$word" = ok ] || failed="$failed $step"
done
if [ -n "$failed" ]; then
  echo "release-check: failed:$failed" >&2
  exit 1
fi
echo "release-check: all is well"
