#!/bin/sh
# Gets Debian's dockerd and containerd into build/peers, for bench/peers/docker.mjs. Unpacked and not installed, because
# the package would start a daemon that changes the machine's network. They need libraries that Debian's systems have:
# libdevmapper1.02.1, libsystemd0, libseccomp2.
set -eu
cd "$(dirname "$0")/../.."
directory=build/peers
[ -x "$directory/usr/sbin/dockerd" ] && [ -x "$directory/usr/bin/containerd" ] && exit 0
mkdir -p "$directory/packages"
echo "fetching: docker.io containerd"
cd "$directory/packages"
apt-get download -qq -o APT::Sandbox::User=root docker.io containerd
for package in *.deb; do dpkg -x "$package" ..; done
rm -r ../packages
