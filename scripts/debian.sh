#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by what fetches from Debian: this machine's own way to the archive, so
# that a local mirror serves and no host name stands in our files.
# shellcheck disable=SC2034 # the variable is for the sourcing script

DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# debian_mirrors SUFFIX: the URIs of this machine's entries for its Debian, or
# with the suffix -security for that of the security team. apt itself reads the entries,
# as there are several formats. A third party may use the name of a Debian suite
# too: who fetches checks with Debian's keyring and goes on to the next.
debian_mirrors() {
	(
		. /etc/os-release
		# shellcheck disable=SC2016 # the fields are for apt
		apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
			'Identifier: Packages' |
			awk -v suite="^($VERSION_CODENAME|stable|oldstable|testing|unstable)$1\$" \
				'$2 ~ suite && $3 == "main" && !seen[$1]++ { print $1 }'
	)
}

# apt_network_settings: what this machine's configuration of apt says of the
# way to an archive: proxies, certificates, tolerance for a frozen mirror.
apt_network_settings() {
	apt-config dump | grep -E '^Acquire::(http|https|ftp|Check|Retries)' || true
}
