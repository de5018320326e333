#!/bin/sh
# Builds the addon and the shim into build/Release with node-gyp. Node's own headers are used where they lie beside
# the running node; only elsewhere does node-gyp have to find some.
set -eu
cd "$(dirname "$0")/.."
prefix=$(node -p "require('path').resolve(process.execPath, '../..')")
if [ -f "$prefix/include/node/node_api.h" ]; then
  set -- --nodedir="$prefix" "$@"
fi
# A checkout's addon loads where the shipped one does: see prebuild.sh. The packed sources are for one machine only.
if [ -f scripts/glibc-floor.mjs ]; then
  export LIBCONTAINER_GLIBC_FLOOR="${LIBCONTAINER_GLIBC_FLOOR-2.28}"
fi
gyp=node_modules/node-gyp/bin/node-gyp.js
node $gyp configure --loglevel=warn "$@"
JOBS=max exec node $gyp build --loglevel=warn "$@"
