#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Loading and unloading the driver: again and again, while it is in use, and
# with pages on the device, of private and of coherent memory.
#
# shellcheck disable=SC2317 # the tests are called by their names

# shellcheck source=selftests/driver.sh
. driver.sh

load_and_unload_50_times() {
	for i in $(seq 50); do
		if ! unload || ! load; then
			echo "# in round $i"
			return 1
		fi
	done
}

unload_refused_while_open() {
	exec 4<>/dev/hmm_dmirror0 || return
	rmmod "$driver" 2>"$dir/error" && return 1
	exec 4>&-
	if ! grep -q 'temporarily unavailable\|busy' "$dir/error"; then
		sed 's/^/# /' "$dir/error"
		return 1
	fi
	loaded && unload && load
}

pages_come_home() {
	hold "$1" && unload || return
	echo home >&3
	exec 3>&-
	wait "$holder" && load
}

pages_are_touched() {
	hold "$1" || return
	rmmod "$driver" 3>&- &
	remover=$!
	exec 3>&-
	wait "$holder" && wait "$remover" && load
}

owner_dies() {
	hold "$1" || return
	rmmod "$driver" 3>&- &
	remover=$!
	kill -9 "$holder"
	exec 3>&-
	wait "$remover" && load
}

unload_brings_pages_home() { pages_come_home 0; }
unload_while_pages_are_touched() { pages_are_touched 0; }
unload_while_owner_dies() { owner_dies 0; }

unload_brings_coherent_pages_home() { need_coherent && pages_come_home 2; }
unload_while_coherent_pages_are_touched() { need_coherent && pages_are_touched 2; }
unload_while_owner_of_coherent_pages_dies() { need_coherent && owner_dies 2; }

# A page in a pipe cannot move. The driver stays until it has been read, and no
# longer.
unload_waits_for_coherent_page_in_use() {
	need_coherent && hold 2 pipe || return
	rmmod "$driver" 3>&- &
	remover=$!
	sleep 3
	loaded || return
	echo empty >&3
	exec 3>&-
	wait "$holder" && wait "$remover" && ! loaded && load
}

# A page that another device has for itself can move: it loses it.
unload_brings_exclusive_page_home() {
	need_coherent && hold 2 exclusive && unload || return
	echo home >&3
	exec 3>&-
	wait "$holder" && load
}

usable_afterwards() {
	hold 0 || return
	exec 3>&-
	wait "$holder"
}

run_tests load_and_unload_50_times unload_refused_while_open unload_brings_pages_home \
	unload_while_pages_are_touched unload_while_owner_dies \
	unload_brings_coherent_pages_home unload_while_coherent_pages_are_touched \
	unload_while_owner_of_coherent_pages_dies unload_waits_for_coherent_page_in_use \
	unload_brings_exclusive_page_home usable_afterwards
