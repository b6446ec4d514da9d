// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: counts which instructions the guest executes between two marks
 * of a program (window_opens() and window_closes() of bench.h), wherever they are.
 *
 *   -plugin profile.so,opens=ADDRESS,closes=ADDRESS,out=FILE
 *
 * Writes a line ADDRESS INSTRUCTIONS TIMES for each run of instructions that QEMU has
 * translated as one. The few that an exception leaves in the middle count as whole.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

/* Instructions that follow each other. */
struct run {
	struct run *next;
	uint64_t address;
	size_t length;
	unsigned long times;
};

static struct run *runs;
static uint64_t opens, closes;
static bool window_is_open;
static FILE *out;

static void executed(unsigned int cpu, void *data)
{
	struct run *run = data;

	run->times += window_is_open;
}

static void open_window(unsigned int cpu, void *data)
{
	window_is_open = true;
}

static void close_window(unsigned int cpu, void *data)
{
	window_is_open = false;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		abort();
	run->length = qemu_plugin_tb_n_insns(tb);
	run->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	run->next = runs;
	runs = run;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, run);
	for (size_t i = 0; i < run->length; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);

		if (address == opens || address == closes)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, address == opens ?
							       open_window : close_window,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
	}
}

static void finish(qemu_plugin_id_t id, void *data)
{
	for (struct run *run = runs; run; run = run->next)
		if (run->times)
			fprintf(out, "%lx %zu %lu\n", run->address, run->length, run->times);
	fclose(out);
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');

		if (!value++)
			return 1;
		if (!strncmp(argv[i], "opens=", 6))
			opens = strtoull(value, NULL, 16);
		else if (!strncmp(argv[i], "closes=", 7))
			closes = strtoull(value, NULL, 16);
		else if (!strncmp(argv[i], "out=", 4))
			out = fopen(value, "w");
		else
			return 1;
	}
	if (!opens || !closes || !out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
