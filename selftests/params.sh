#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# The module's parameters: what they do, and what becomes of bad values. Runs in
# the guest's busybox; the driver, $DRIVER_KO with the parameters $DRIVER_PARAMS,
# is loaded when the test begins and when it ends.
#
# shellcheck disable=SC2317 # the tests are called by their names

driver=$(basename "$DRIVER_KO" .ko)
node=/dev/hmm_dmirror0

loaded() { grep -q "^$driver " /proc/modules; }

unload() { ! loaded || rmmod "$driver"; }

# shellcheck disable=SC2086 # several parameters
load() { unload && insmod "$DRIVER_KO" $DRIVER_PARAMS "$@" && [ -c "$node" ]; }

# refuses MESSAGE PARAMETER...: the driver is not loaded, and the kernel says why.
refuses() {
	message=$1
	shift
	unload || return
	dmesg -c >/dev/null
	insmod "$DRIVER_KO" "$@" 2>/dev/null
	if loaded || [ -e "$node" ]; then
		echo "# accepted: $*"
		return 1
	fi
	dmesg | grep -q "$message" && return
	echo "# no '$message', but:"
	dmesg | sed 's/^/# /'
	return 1
}

bad_sizes_are_refused() {
	for mib in 0 1 3 16385 16386 4294967295; do
		refuses "memory_mib=$mib: must be even and from 2 to 16384" "memory_mib=$mib" || return
	done
}

no_sizes_are_refused() {
	for mib in -2 nonsense 4294967296 2M ""; do
		refuses "invalid for parameter .memory_mib'" "memory_mib=$mib" || return
	done
}

twice_is_refused() { refuses "invalid for parameter .memory_mib'" memory_mib=2 memory_mib=4; }

# rooms WANTED ASKED: each device takes that many pages and no more.
rooms() {
	for unit in 0 1; do
		room=$(device-room "$unit" "$2")
		[ "$room" = "$1" ] && continue
		echo "# device $unit: room for $room pages, not $1"
		return 1
	done
}

smallest() { load memory_mib=2 && rooms 512 1000; }

more_than_a_chunk() { load memory_mib=258 && rooms $((258 * 256)) 66500; }

largest() { load memory_mib=16384 && rooms 1000 1000; }

default() { load && rooms 1000 1000; }

tests="bad_sizes_are_refused no_sizes_are_refused twice_is_refused smallest
	more_than_a_chunk largest default"

# shellcheck disable=SC2086 # a list of words
set -- $tests
echo "TAP version 13"
echo "1..$#"
number=0 status=0
for test; do
	number=$((number + 1))
	if $test; then
		echo "ok $number $test"
	else
		echo "not ok $number $test"
		status=1
	fi
done
loaded || load
exit $status
