/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Numbers at random that a seed repeats, and what else tests at random share: how
 * long they go on, a line of output from any thread or child, the devices' counters.
 */
#ifndef DMIRROR_SELFTESTS_CHANCE_H
#define DMIRROR_SELFTESTS_CHANCE_H

#include <stdarg.h>
#include <time.h>
#include <unistd.h>

#include "lib.h"

/* Each thread has one of its own. */
struct chance {
	uint64_t state;
};

static inline uint64_t any(struct chance *chance)
{
	uint64_t x;

	chance->state += 0x9e3779b97f4a7c15;
	x = chance->state;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

static inline uint64_t below(struct chance *chance, uint64_t limit)
{
	return any(chance) % limit;
}

static inline bool one_in(struct chance *chance, uint64_t count)
{
	return !below(chance, count);
}

/* A stream of its own for each number. */
static inline struct chance branch(uint64_t seed, uint64_t number)
{
	struct chance chance = { .state = seed ^ number * 0xd1342543de82ef95 };

	any(&chance);
	return chance;
}

/* What DMIRROR_SEED says, or another one each time. */
static inline uint64_t first_seed(void)
{
	const char *setting = getenv("DMIRROR_SEED");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return setting ? strtoull(setting, NULL, 0) :
			 (now.tv_sec * 1000ULL + now.tv_nsec / 1000000) % 1000000000;
}

static inline uint64_t clock_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

static inline void sleep_for_ms(unsigned int ms)
{
	struct timespec delay = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&delay, NULL);
}

/* Does the kernel check itself, and is slow? */
static inline bool is_strict(void)
{
	return !access("/sys/kernel/debug/kmemleak", F_OK);
}

/* One line, whole; also of the child of a process with threads, which must not use stdio. */
static inline void say(const char *format, ...)
{
	char line[512] = "# ";
	va_list args;
	int len;

	va_start(args, format);
	len = 2 + vsnprintf(line + 2, sizeof(line) - 3, format, args);
	va_end(args);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, len) != len)
		abort();
}

/* The pages of all processes in the memory of a device, or -1 if it does not tell. */
static inline long pages_in_use(unsigned int unit)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/kernel/debug/dmirror/hmm_dmirror%u/pages", unit);
	return read_number_at(path);
}

/*
 * Do all devices become empty? What has died gives back its memory a moment later;
 * what a child has moved that its parent maps, too, stays until the parent has it
 * brought home.
 */
static inline bool devices_are_empty(void)
{
	for (unsigned int unit = 0; unit < 4; unit++) {
		long pages = 1;

		for (unsigned int tries = 0; pages > 0 && tries < 100; tries++) {
			int fd = dev_open(unit);

			if (tries)
				sleep_for_ms(100);
			/* A page that is busy at that moment stays where it is. */
			dev_release(fd, NULL, 0);
			close(fd);
			pages = pages_in_use(unit);
		}
		if (!pages || pages == -1)
			continue;
		say("device %u has %ld pages in use", unit, pages);
		return false;
	}
	return true;
}

#endif
