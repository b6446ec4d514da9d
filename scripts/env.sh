#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by every script: where things are, which tools build them, and how a
# script talks to its user.
# shellcheck disable=SC2034 # most of the variables are for the sourcing script

ROOT=$(realpath "${BASH_SOURCE[0]%/*}/..")
BUILD=$ROOT/build
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/dmirror

# A make that called us passes on its -j and every variable of its command line,
# which are none of the kernel's business.
unset MAKEFLAGS MFLAGS MAKEOVERRIDES MAKELEVEL

# A variant is one source tree with its build folders: Debian's source with our
# patches, or, named by a hash of its path, the tree or tarball in KERNEL_SRC.
VARIANT=${VARIANT:-patched}
if [[ ${KERNEL_SRC:-} && $VARIANT != *-src-* ]]; then
	KERNEL_SRC=$(realpath -e "$KERNEL_SRC") || exit
	VARIANT+=-src-$(sha256sum <<<"$KERNEL_SRC" | cut -c1-8)
fi
VARIANT_DIR=$CACHE/kernel/$VARIANT
KSRC=$VARIANT_DIR/src

# Debian's matched set of tools, by full name: a rustup toolchain that comes
# earlier on PATH must not be picked up.
LLVM_VERSION=22
LLVM_DIR=/usr/lib/llvm-$LLVM_VERSION
RUSTC=/usr/bin/rustc
RUSTDOC=/usr/bin/rustdoc
RUSTFMT=/usr/bin/rustfmt
CARGO=/usr/bin/cargo
CLIPPY_DRIVER=/usr/bin/clippy-driver
BINDGEN=$CACHE/bindgen/bin/bindgen
[[ -x $BINDGEN ]] || BINDGEN=/usr/bin/bindgen
export LIBCLANG_PATH=$LLVM_DIR/lib

say() { printf '%s\n' "$*" >&2; }

die() {
	say "${0##*/}: $*"
	exit 1
}

kernel_out() { printf '%s\n' "$VARIANT_DIR/$1"; }

# kmake CONFIG ARGS...: the kernel's make. The plain names of LLVM's tools come
# first on PATH, as bindgen runs `clang`.
kmake() {
	local config=$1
	shift
	PATH=$LLVM_DIR/bin:$PATH make -j"$(nproc)" -C "$KSRC" O="$(kernel_out "$config")" \
		LLVM=-$LLVM_VERSION RUSTC=$RUSTC RUSTDOC=$RUSTDOC RUSTFMT=$RUSTFMT \
		CLIPPY_DRIVER=$CLIPPY_DRIVER BINDGEN="$BINDGEN" \
		KBUILD_BUILD_USER=dmirror KBUILD_BUILD_HOST=dmirror \
		KBUILD_BUILD_VERSION=1 KBUILD_BUILD_TIMESTAMP='1970-01-01 00:00:00Z' \
		"$@"
}

# lock_cache: one script at a time changes the cache. The lock, file descriptor
# 9, is held until the script ends; scripts that it calls see that it is held.
lock_cache() {
	[[ ${DMIRROR_LOCKED:-} ]] && return
	mkdir -p "$CACHE"
	exec 9>"$CACHE/lock"
	if ! flock -n 9; then
		say "waiting for another build in $CACHE to end"
		flock 9
	fi
	export DMIRROR_LOCKED=1
}

minutes() { printf '%dm%02ds' $(($1 / 60)) $(($1 % 60)); }

# progress LOG LABEL: tells how far the command that writes to LOG is, until
# the script itself ends or ends us. STEPS, if set, says how many are to come.
progress() {
	local log=$1 label=$2 pause=20 steps line
	[[ -t 2 ]] && pause=1
	local next=$pause
	while sleep 1 && kill -0 $$ 2>/dev/null; do
		((SECONDS >= next)) || continue
		next=$((SECONDS + pause))
		steps=$(grep -c '^  [A-Z]' "$log" || true)
		line="$label: $(minutes $SECONDS)"
		((!steps)) || line+=", $steps steps${STEPS:+ of about $STEPS}"
		if [[ -t 2 ]]; then
			printf '\r%s\e[K' "$line" >&2
		else
			say "$line"
		fi
	done
}

# run_logged LOG LABEL COMMAND...: runs a long command (a program or a function
# of one command) with its output in LOG and its progress on the terminal. The
# command stays in the foreground, so that Ctrl-C reaches it.
run_logged() {
	local log=$1 label=$2 status=0 monitor
	shift 2
	mkdir -p "${log%/*}"
	: >"$log"
	say "$label (log: ${log/#$ROOT\//})"
	SECONDS=0
	progress "$log" "$label" 9>&- & # its last sleep must not hold the lock
	monitor=$!
	"$@" >"$log" 2>&1 </dev/null || status=$?
	kill "$monitor" 2>/dev/null || true
	wait "$monitor" 2>/dev/null || true
	[[ -t 2 ]] && printf '\r\e[K' >&2
	if ((status)); then
		tail -n 30 "$log" >&2
		say "$label: FAILED after $(minutes $SECONDS), full log in $log"
	else
		say "$label: done in $(minutes $SECONDS)"
	fi
	return "$status"
}
