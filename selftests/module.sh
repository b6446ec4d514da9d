#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading the driver: again and again, while it is in use, and
# with pages on the device. Runs in the guest's busybox; the driver, $DRIVER_KO
# with the parameters $DRIVER_PARAMS, is loaded when the test begins and when it
# ends.
#
# shellcheck disable=SC2317 # the tests are called by their names

driver=$(basename "$DRIVER_KO" .ko)
node=/dev/hmm_dmirror0
dir=$(mktemp -d)

loaded() { grep -q "^$driver " /proc/modules; }

# shellcheck disable=SC2086 # several parameters
load() { insmod "$DRIVER_KO" $DRIVER_PARAMS && [ -c "$node" ]; }

unload() { rmmod "$driver" 3>&- && ! loaded && [ ! -e "$node" ]; }

# Starts the holder of pages; its input is our file descriptor 3.
hold() {
	rm -f "$dir/input" "$dir/ready"
	mkfifo "$dir/input" "$dir/ready" || return
	hold-pages <"$dir/input" >"$dir/ready" &
	holder=$!
	exec 3>"$dir/input"
	read -r line <"$dir/ready" && [ "$line" = holding ]
}

load_and_unload_50_times() {
	for i in $(seq 50); do
		if ! unload || ! load; then
			echo "# in round $i"
			return 1
		fi
	done
}

unload_refused_while_open() {
	exec 4<>"$node" || return
	rmmod "$driver" 2>"$dir/error" && return 1
	exec 4>&-
	if ! grep -q 'temporarily unavailable\|busy' "$dir/error"; then
		sed 's/^/# /' "$dir/error"
		return 1
	fi
	loaded && unload && load
}

unload_brings_pages_home() {
	hold && unload || return
	echo home >&3
	exec 3>&-
	wait "$holder" && load
}

unload_while_pages_are_touched() {
	hold || return
	rmmod "$driver" 3>&- &
	remover=$!
	exec 3>&-
	wait "$holder" && wait "$remover" && load
}

unload_while_owner_dies() {
	hold || return
	rmmod "$driver" 3>&- &
	remover=$!
	kill -9 "$holder"
	exec 3>&-
	wait "$remover" && load
}

usable_afterwards() {
	hold || return
	exec 3>&-
	wait "$holder"
}

tests="load_and_unload_50_times unload_refused_while_open unload_brings_pages_home
	unload_while_pages_are_touched unload_while_owner_dies usable_afterwards"

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
	loaded || load
done
rm -r "$dir"
exit $status
