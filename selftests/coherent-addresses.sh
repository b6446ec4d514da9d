#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Where the driver is told that the memory of its coherent devices is. Whatever is
# wrong with an address costs the device that it is for, and a line in the log; all
# other devices are there and work.
#
# shellcheck disable=SC2317 # the tests are called by their names

# shellcheck source=selftests/driver.sh
. driver.sh

# The reserved memory, for two devices, one behind the other.
first='' second=''
for parameter in $DRIVER_PARAMS; do
	case $parameter in
	spm_addr_dev0=*) first=${parameter#*=} ;;
	spm_addr_dev1=*) second=${parameter#*=} ;;
	esac
done
SIZE=$((256 << 20))

hasnt() { [ ! -e "/dev/hmm_dmirror$1" ]; }

# is_at UNIT ADDRESS: the device's memory begins there.
is_at() { grep -q "^ *0*$(printf %x $(($2)))-.* : hmm_dmirror$1$" /proc/iomem; }

# with PARAMETER...: loads the driver, with the log of that in a file. The private
# devices work.
with() {
	if loaded; then unload || return; fi
	dmesg -c >/dev/null
	load_with "$@" && dmesg >"$dir/log" && works 0 && works 1
}

# works UNIT: the device takes pages.
works() {
	hold "$1" || return
	exec 3>&-
	wait "$holder"
}

# refused UNIT WORDS: there is no such device, and the log says why.
refused() {
	[ ! -e "/dev/hmm_dmirror$1" ] || return
	grep -q "dmirror: no hmm_dmirror$1: .*$2" "$dir/log" && return
	sed -n '/dmirror:/s/^/# /p' "$dir/log"
	return 1
}

silent() { ! grep "dmirror: no hmm_dmirror" "$dir/log"; }

none_given() { need_coherent && with && hasnt 2 && hasnt 3 && silent; }

both_given() {
	need_coherent && with "spm_addr_dev0=$first" "spm_addr_dev1=$second" && silent &&
		works 2 && works 3 && is_at 2 "$first" && is_at 3 "$second"
}

# The names do not follow from the order of the addresses.
swapped() {
	need_coherent && with "spm_addr_dev0=$second" "spm_addr_dev1=$first" && silent &&
		works 2 && works 3 && is_at 2 "$second" && is_at 3 "$first"
}

only_the_first() {
	need_coherent && with "spm_addr_dev0=$first" && silent && works 2 && hasnt 3
}

only_the_second() {
	need_coherent && with "spm_addr_dev1=$second" && silent && hasnt 2 && works 3 &&
		is_at 3 "$second"
}

# 2 MiB are enough of an alignment.
between_the_two() {
	middle=$((first + (2 << 20)))
	need_coherent && with "spm_addr_dev0=$middle" && silent && works 2 &&
		is_at 2 "$middle"
}

same_twice() {
	need_coherent && with "spm_addr_dev0=$first" "spm_addr_dev1=$first" &&
		works 2 && refused 3 "is in use"
}

overlapping() {
	need_coherent && with "spm_addr_dev0=$first" "spm_addr_dev1=$((first + SIZE - (2 << 20)))" &&
		works 2 && refused 3 "is in use"
}

unaligned() {
	need_coherent && with "spm_addr_dev0=$((first + 4096))" "spm_addr_dev1=$((second + 1))" &&
		refused 2 "is not aligned" && refused 3 "is not aligned"
}

# Memory of the system: all of it, the end, the beginning.
system_memory() {
	need_coherent && with "spm_addr_dev0=$((first - SIZE))" "spm_addr_dev1=$second" &&
		refused 2 "is in use" && works 3
}

reaches_into_system_memory() {
	need_coherent && with "spm_addr_dev0=$((first - (2 << 20)))" \
		"spm_addr_dev1=$((second + (2 << 20)))" &&
		refused 2 "is in use" && refused 3 "is in use"
}

# 512 GiB: could be mapped, but nothing is there.
no_memory() {
	need_coherent && with spm_addr_dev0=0x8000000000 "spm_addr_dev1=$second" &&
		refused 2 "is not reserved" && works 3
}

out_of_range() {
	need_coherent || return
	for address in 0x200000000000 0x40000000000000 0xffffffffffe00000; do
		with "spm_addr_dev0=$address" "spm_addr_dev1=$second" &&
			refused 2 "is beyond" && works 3 || return
	done
}

# What is no number is refused like any such parameter.
no_number() {
	need_coherent && unload || return
	insmod "$DRIVER_KO" spm_addr_dev0=nonsense 2>"$dir/error" && return 1
	! loaded && load
}

# What was refused has not been kept.
as_before() {
	need_coherent && unload && load && works 2 && works 3
}

run_tests none_given both_given swapped only_the_first only_the_second between_the_two \
	same_twice overlapping unaligned system_memory reaches_into_system_memory no_memory \
	out_of_range no_number as_before
