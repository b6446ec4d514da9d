/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the benchmarks share: the measurement of one call, in instructions, and
 * the marks by which it is found from outside.
 *
 * Under QEMU's icount (scripts/vm --icount) the time stamp counter counts
 * instructions, the kernel's and ours.
 */
#ifndef DMIRROR_BENCH_H
#define DMIRROR_BENCH_H

#include <cpuid.h>
#include <err.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "kselftest.h"

static inline uint64_t instructions(void)
{
	return __builtin_ia32_rdtsc();
}

static inline bool cpu_has(const char *flag)
{
	FILE *info = fopen("/proc/cpuinfo", "r");
	char line[8192], *word;
	bool has = false;

	if (!info)
		err(1, "/proc/cpuinfo");
	while (!has && fgets(line, sizeof(line), info)) {
		if (strncmp(line, "flags", 5))
			continue;
		for (word = strtok(line, " \t\n"); word && !has; word = strtok(NULL, " \t\n"))
			has = !strcmp(word, flag);
		break;
	}
	fclose(info);
	return has;
}

/*
 * The kernel must copy by words: by "rep movsb" and "rep stosb" each byte would be
 * an instruction under icount. And random numbers must not come from outside.
 */
static inline void check_cpu(void)
{
	static const char * const bad[] = { "erms", "fsrm", "rdrand", "rdseed" };
	unsigned int eax, ebx, ecx, edx;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (cpu_has(bad[i]))
			errx(1, "this CPU has %s: run by scripts/vm --icount", bad[i]);
	/* fsrs, which has no name there */
	if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & (1 << 11)))
		errx(1, "this CPU has fsrs: run by scripts/vm --icount");
	if (!cpu_has("rep_good"))
		errx(1, "this CPU has no fast string copy: run by scripts/vm --icount");
}

/* Does the counter count instructions, not time? Of several tries one is not disturbed. */
static inline void check_clock(void)
{
	uint64_t least = UINT64_MAX;

	for (int try = 0; try < 5; try++) {
		uint64_t took = instructions();

		for (int i = 0; i < 100000; i++)
			__asm__ volatile("nop");
		took = instructions() - took;
		if (took < least)
			least = took;
	}
	/* Three a round, and what a tick of the timer may take. */
	if (least < 300000 || least > 330000)
		errx(1, "the TSC does not count instructions: run by scripts/vm --icount");
}

/*
 * What lies between calls of these two is one window for selftests/bench/count.c.
 * They have a place of their own in memory (see the Makefile), where no other
 * program of the guest has code.
 */
void window_opens(void);
void window_closes(void);

__asm__(".pushsection .marks, \"ax\", @progbits\n"
	".globl window_opens, window_closes\n"
	"window_opens: ret\n"
	"window_closes: ret\n"
	".popsection");

#endif
