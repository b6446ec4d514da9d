# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh
#
# Sourced by the test programs that insert and remove the driver: $DRIVER_KO with
# the parameters $DRIVER_PARAMS, which is inserted when a test begins and when it
# ends. They run in the guest's busybox.

driver=$(basename "$DRIVER_KO" .ko)
dir=$(mktemp -d)

loaded() { grep -q "^$driver " /proc/modules; }

# load_with PARAMETER...: inserts it with these parameters.
load_with() { insmod "$DRIVER_KO" "$@" && [ -c /dev/hmm_dmirror0 ]; }

# shellcheck disable=SC2086 # several parameters
load() { load_with $DRIVER_PARAMS; }

unload() { rmmod "$driver" 3>&- && ! loaded && [ ! -e /dev/hmm_dmirror0 ]; }

# The guest has coherent devices only if it was asked for: else a test is skipped.
SKIP=4
need_coherent() { case $DRIVER_PARAMS in *spm_addr_dev*) ;; *) return $SKIP ;; esac; }

# hold ARGUMENT...: starts hold-pages, as process $holder; its input is our file
# descriptor 3.
# shellcheck disable=SC2034 # used by those who source this
hold() {
	rm -f "$dir/input" "$dir/ready"
	mkfifo "$dir/input" "$dir/ready" || return
	hold-pages "$@" <"$dir/input" >"$dir/ready" &
	holder=$!
	exec 3>"$dir/input"
	read -r line <"$dir/ready" && [ "$line" = holding ]
}

# run_tests TEST...: runs these functions, and prints TAP.
run_tests() {
	number=0 failed=0
	echo "TAP version 13"
	echo "1..$#"
	for test; do
		number=$((number + 1))
		$test
		case $? in
		0) echo "ok $number $test" ;;
		"$SKIP") echo "ok $number $test # SKIP no coherent devices" ;;
		*) echo "not ok $number $test" && failed=1 ;;
		esac
		loaded || load
	done
	rm -r "$dir"
	return $failed
}
