#!/bin/sh
# Makes an apt configuration of its own in DIRECTORY, with the package lists of a Debian suite for an architecture, so
# that nothing of them ever gets into the machine's own. Prints the configuration's path, for apt-get -c.
# Usage: scripts/debian-suite.sh DIRECTORY SUITE ARCHITECTURE
set -eu
directory=$1 suite=$2 architecture=$3

# The mirror is the one that this machine takes its own packages from: as apt itself has read its sources.
mirror() {
  apt-get indextargets --format '$(LABEL) $(REPO_URI)' 'Created-By: Packages' | sed -n 's/^Debian //p' | head -n 1
}
uri=$(mirror)
if [ -z "$uri" ] && [ "$(id -u)" = 0 ]; then # no list was ever fetched
  apt-get -qq update >&2 || true
  uri=$(mirror)
fi
if [ -z "$uri" ]; then
  echo "debian-suite: no Debian mirror among this machine's apt sources (or apt-get update was never run)" >&2
  exit 1
fi
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
if [ -e "$keyring" ]; then keyring="[signed-by=$keyring]"; else keyring=; fi

mkdir -p "$directory/lists/partial" "$directory/cache/archives/partial"
: >"$directory/status"
echo "deb $keyring $uri $suite main" >"$directory/sources"
cat >"$directory/conf" <<CONF
Dir::Etc::sourcelist "$directory/sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$directory";
Dir::State::lists "$directory/lists";
Dir::State::status "$directory/status";
Dir::Cache "$directory/cache";
Acquire::Languages "none";
APT::Architecture "$architecture";
APT::Architectures "$architecture";
APT::Sandbox::User "$(id -un)";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
CONF
apt-get -qq -c "$directory/conf" update >&2 || {
  echo "debian-suite: could not read the package lists of $suite" >&2
  exit 1
}
echo "$directory/conf"
