/* SPDX-License-Identifier: GPL-2.0 */
/* A second processor, on which a thread of the same process runs meanwhile. */
#ifndef DMIRROR_BENCH_PROCESSORS_H
#define DMIRROR_BENCH_PROCESSORS_H

#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

enum { THIS_CPU, OTHER_CPU };

/* The interrupts of one kind so far, on all CPUs. */
static inline unsigned long interrupts_so_far(const char *name)
{
	FILE *list = fopen("/proc/interrupts", "r");
	unsigned long sum = 0;
	char line[512];

	must(list, "/proc/interrupts");
	while (fgets(line, sizeof(line), list)) {
		char *at = strstr(line, name), *end;

		if (!at)
			continue;
		for (at += strlen(name);; at = end) {
			unsigned long count = strtoul(at, &end, 10);

			if (end == at)
				break;
			sum += count;
		}
	}
	fclose(list);
	return sum;
}

static inline void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set), "it takes two CPUs");
}

static atomic_bool spins;
static pthread_t spinner;

static inline void *spin(void *arg)
{
	pin_to(OTHER_CPU);
	spins = true;
	while (spins)
		;
	return arg;
}

static inline void begin_spinning(void)
{
	pin_to(THIS_CPU);
	must(!pthread_create(&spinner, NULL, spin, NULL), "no thread");
	while (!spins)
		;
}

static inline void end_spinning(void)
{
	spins = false;
	pthread_join(spinner, NULL);
}

#endif
