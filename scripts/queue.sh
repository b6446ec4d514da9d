#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by what works with the queue of kernel patches, patches/series.

# read_series: the names of the patches, or of the first QUEUE_LENGTH of them; the
# variant `stock` has none.
read_series() {
	[[ $VARIANT == stock* || ! -e $ROOT/patches/series ]] ||
		sed -E 's/[[:space:]]*(#.*)?$//; /^$/d' "$ROOT/patches/series" |
		head -n "${QUEUE_LENGTH:--0}"
}

# touched_files PATCH...: every name in the patches' headers. A line of text
# that looks like a header does no harm: one name more is taken for touched.
touched_files() {
	sed -nE -e 's,^(---|\+\+\+) [ab]/([^[:space:]]+).*,\2,p' \
		-e 's,^diff --git a/([^ ]+) b/([^ ]+)$,\1\n\2,p' "$@" | sort -u
}
