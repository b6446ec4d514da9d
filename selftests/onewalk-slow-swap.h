/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A swap device that takes SLOW_MS for each request, null_blk with memory, which
 * completes by a timer. It is used instead of the guest's: each processor goes on
 * for a while where it swapped to last, whatever the priorities.
 */
#ifndef DMIRROR_SELFTESTS_ONEWALK_SLOW_SWAP_H
#define DMIRROR_SELFTESTS_ONEWALK_SLOW_SWAP_H

#include <sys/stat.h>
#include <sys/swap.h>

#include "onewalk-hazards.h"

#define USUAL_SWAP	"/dev/zram0"
#define SLOW_MS		3000	/* the block layer loses patience after 5000 */
#define SLOW_MIB	16
#define SLOW_CONFIG	"/sys/kernel/config/nullb/slow/"
#define SLOW_NODE	"/dev/slow"

/* The header that mkswap writes: see union swap_header in the kernel. */
static inline bool make_swap(const char *node)
{
	uint32_t header[PAGE / sizeof(uint32_t)] = {};
	int fd = open(node, O_WRONLY | O_CLOEXEC);
	bool done;

	if (fd < 0)
		return false;
	header[256] = 1;				/* version, behind the boot bits */
	header[257] = SLOW_MIB * 1024 / 4 - 1;		/* last page */
	memcpy((char *)header + PAGE - 10, "SWAPSPACE2", 10);
	done = write(fd, header, PAGE) == PAGE;
	return !close(fd) && done;
}

/* NULL, or what could not be done. */
static inline const char *slow_swap_on(void)
{
	static const struct {
		const char *path, *value;
	} settings[] = {
		{ SLOW_CONFIG "size", "16" },
		{ SLOW_CONFIG "memory_backed", "1" },
		{ SLOW_CONFIG "irqmode", "2" },
		{ SLOW_CONFIG "completion_nsec", "3000000000" },
		{ SLOW_CONFIG "power", "1" },
	};

	if (mkdir(SLOW_CONFIG, 0755) && errno != EEXIST)
		return SLOW_CONFIG;
	if (get_value(SLOW_CONFIG "power") != 1)
		for (size_t i = 0; i < ARRAY_SIZE(settings); i++)
			if (!write_file(settings[i].path, settings[i].value))
				return settings[i].path;
	if (!make_swap(SLOW_NODE))
		return SLOW_NODE;
	if (swapon(SLOW_NODE, 0) || swapoff(USUAL_SWAP))
		return "swapon";
	return NULL;
}

static inline bool slow_swap_off(void)
{
	return !swapon(USUAL_SWAP, 0) && !swapoff(SLOW_NODE) &&
	       write_file(SLOW_CONFIG "power", "0") && !rmdir(SLOW_CONFIG);
}

/* Reads that the device has been asked for and not done. */
static inline long slow_reads(void)
{
	return get_value("/sys/block/slow/inflight");
}

static inline long slow_writes(void)
{
	FILE *file = fopen("/sys/block/slow/inflight", "re");
	long reads, writes = -1;

	if (!file)
		return -1;
	if (fscanf(file, "%ld %ld", &reads, &writes) != 2)
		writes = -1;
	fclose(file);
	return writes;
}

/*
 * Swaps the pages out so that they have to be read. What is written slowly stays in
 * the swap cache; but once it has been written and read back from there, it is
 * clean, and can be dropped at once.
 */
static inline bool swap_out_for_good(char *mem, size_t npages)
{
	unsigned char there[npages];

	if (!swap_out(mem, npages))
		return false;
	while (slow_writes() > 0)
		sleep_ms(10);
	touch(mem, npages);
	if (!swap_out(mem, npages) || mincore(mem, npages * PAGE, there))
		return false;
	if (memchr(there, 1, npages))
		printf("# pages are in the swap cache still\n");
	return !memchr(there, 1, npages);
}

#endif
