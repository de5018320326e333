#!/bin/sh
# Builds the addon and the shim into build/Release with node-gyp. Node's own headers are used where they lie beside
# the running node; only elsewhere does node-gyp have to find some.
set -eu
cd "$(dirname "$0")/.."
prefix=$(node -p "require('path').resolve(process.execPath, '../..')")
if [ -f "$prefix/include/node/node_api.h" ]; then
  set -- --nodedir="$prefix" "$@"
fi
gyp=node_modules/node-gyp/bin/node-gyp.js
node $gyp configure --loglevel=warn "$@"
JOBS=max exec node $gyp build --loglevel=warn "$@"
