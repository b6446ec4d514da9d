#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Sourced by what configures kernels: how one is made of configuration fragments.

# configure CONFIG LOG FRAGMENT...: in CONFIG's build folder. Starts from all
# symbols off; scripts/kernel/ says what that means for the symbols that nobody
# asked for.
configure() {
	local config=$1 log=$2 out
	out=$(kernel_out "$config")
	shift 2
	mkdir -p "$out"
	"$KSRC/scripts/kconfig/merge_config.sh" -m -O "$out" "$@" >"$log" 2>&1 ||
		die "the configuration fragments do not merge, see $log"
	mv "$out/.config" "$out/.config.wanted"
	kmake "$config" KCONFIG_ALLCONFIG="$out/.config.wanted" allnoconfig >>"$log" 2>&1 || {
		tail -n 30 "$log" >&2
		die "the kernel cannot be configured, see $log"
	}
}

# verify_configuration CONFIG FRAGMENT...: a symbol whose dependency is missing is
# dropped by Kconfig without a word.
verify_configuration() {
	local dropped
	dropped=$(awk '
		/^CONFIG_/ { symbol = $0; sub(/=.*/, "", symbol) }
		FNR == NR { if (/^CONFIG_/) is[symbol] = $0; next }
		/^CONFIG_/ && is[symbol] != $0 { print "  " $0 }
		/^# CONFIG_.* is not set$/ && ($2 in is) { print "  " $0 }
	' "$(kernel_out "$1")/.config" "${@:2}")
	[[ ! $dropped ]] || die "$1: asked for, but not so in the result:"$'\n'"$dropped"
}
