# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the scripts that run a guest with one of our plugins for QEMU.

# build_plugin NAME FOLDER: builds selftests/bench/NAME.c as FOLDER/NAME.so.
build_plugin() {
	local version=2
	[[ $(qemu-system-x86_64 --version) != *' version '[0-8].* ]] || version=1
	clang-"$LLVM_VERSION" -O2 -Wall -shared -fPIC -DPLUGIN_VERSION=$version \
		"$ROOT/selftests/bench/$1.c" -o "$2/$1.so"
}

# marks PROGRAM: where the program's two marks are, as arguments of a plugin.
marks() {
	"$LLVM_DIR/bin/llvm-nm" --defined-only "$1" | awk '
		$NF == "window_opens" { opens = $1 }
		$NF == "window_closes" { closes = $1 }
		END { print "opens=" opens ",closes=" closes }'
}
