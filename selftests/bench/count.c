// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: counts what the guest's kernel executes between two marks
 * of a program (window_opens() and window_closes() of bench.h), in functions that
 * are named to it. Neither the kernel nor the program knows.
 *
 *   -plugin count.so,opens=ADDRESS,closes=ADDRESS,functions=FILE,out=FILE
 *
 * Each line of FILE is NAME START SIZE, the numbers in hexadecimal. For each
 * window, and each function that ran in it, these lines are written:
 *
 *   WINDOW ran NAME CALLS ROUNDS COUNT	ROUNDS: how often the instruction ran
 *						that ran most often, which tells the
 *						rounds of the function's loop;
 *						COUNT: instructions in the function
 *						itself
 *   WINDOW called CALLER CALLEE CALLS	CALLER: of the named functions the last
 *						one that ran before
 *
 * With several processors, what all of them execute is counted, and CALLER means
 * nothing.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plugin.h"

#define MOST_FUNCTIONS	64

struct function;

/* One byte of a function's code, the first of an instruction or not. */
struct spot {
	struct function *function;
	unsigned long count;
};

static struct function {
	char name[64];
	unsigned long start, size;
	struct spot *spots;
	unsigned long called_from[MOST_FUNCTIONS + 1];
} functions[MOST_FUNCTIONS];

static int nfunctions;
static uint64_t opens, closes;
static bool window_is_open;
static unsigned int window;
static int last;	/* which function ran last; nfunctions: none */
static FILE *out;

static void open_window(unsigned int cpu, void *data)
{
	for (struct function *f = functions; f < functions + nfunctions; f++) {
		for (unsigned long i = 0; i < f->size; i++)
			f->spots[i].count = 0;
		memset(f->called_from, 0, sizeof(f->called_from));
	}
	last = nfunctions;
	window_is_open = true;
}

static void close_window(unsigned int cpu, void *data)
{
	for (struct function *f = functions; f < functions + nfunctions; f++) {
		unsigned long most = 0, sum = 0;

		for (unsigned long i = 0; i < f->size; i++) {
			sum += f->spots[i].count;
			if (f->spots[i].count > most)
				most = f->spots[i].count;
		}
		if (!most)
			continue;
		fprintf(out, "%u ran %s %lu %lu %lu\n", window, f->name,
			f->spots[0].count, most, sum);
		for (int caller = 0; caller <= nfunctions; caller++)
			if (f->called_from[caller])
				fprintf(out, "%u called %s %s %lu\n", window,
					caller < nfunctions ? functions[caller].name : "-",
					f->name, f->called_from[caller]);
	}
	window_is_open = false;
	window++;
}

static void executed(unsigned int cpu, void *data)
{
	struct spot *spot = data;
	struct function *function = spot->function;

	if (!window_is_open)
		return;
	if (spot == function->spots)
		function->called_from[last]++;
	__atomic_fetch_add(&spot->count, 1, __ATOMIC_RELAXED);
	last = function - functions;
}

static struct spot *spot_of(uint64_t address)
{
	for (struct function *f = functions; f < functions + nfunctions; f++)
		if (address - f->start < f->size)
			return &f->spots[address - f->start];
	return NULL;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t address = qemu_plugin_insn_vaddr(insn);
		void (*callback)(unsigned int cpu, void *data) = executed;
		struct spot *spot = spot_of(address);

		if (address == opens)
			callback = open_window;
		else if (address == closes)
			callback = close_window;
		else if (!spot)
			continue;
		qemu_plugin_register_vcpu_insn_exec_cb(insn, callback, QEMU_PLUGIN_CB_NO_REGS,
						       spot);
	}
}

static void finish(qemu_plugin_id_t id, void *data)
{
	fclose(out);
}

static bool read_functions(const char *path)
{
	FILE *list = fopen(path, "r");
	struct function *f = functions;

	if (!list)
		return false;
	while (nfunctions < MOST_FUNCTIONS &&
	       fscanf(list, "%63s %lx %lx", f->name, &f->start, &f->size) == 3) {
		f->spots = calloc(f->size, sizeof(*f->spots));
		if (!f->spots)
			return false;
		for (unsigned long i = 0; i < f->size; i++)
			f->spots[i].function = f;
		f++;
		nfunctions++;
	}
	fclose(list);
	return nfunctions;
}

int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		bool ok = value++;

		if (ok && !strncmp(argv[i], "opens=", 6))
			opens = strtoull(value, NULL, 16);
		else if (ok && !strncmp(argv[i], "closes=", 7))
			closes = strtoull(value, NULL, 16);
		else if (ok && !strncmp(argv[i], "functions=", 10))
			ok = read_functions(value);
		else if (ok && !strncmp(argv[i], "out=", 4))
			out = fopen(value, "w");
		else
			ok = false;
		if (!ok) {
			fprintf(stderr, "count: bad argument: %s\n", argv[i]);
			return 1;
		}
	}
	if (!opens || !closes || !nfunctions || !out)
		return 1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, finish, NULL);
	return 0;
}
