// SPDX-License-Identifier: GPL-2.0
/*
 * hold-pages: two processes that share pages on the device, with no file open,
 * so that nothing but the pages stands in the way of unloading the driver.
 *
 * Prints a line when the pages are there, then waits for a line or the end of
 * its input. After a line the pages must be back in system memory, untouched by
 * us; in either case they must be intact: the exit status says so.
 */
#include <err.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define NPAGES	512
#define SEED	1000

#define PM_SWAP		(1ULL << 62)
#define PM_PRESENT	(1ULL << 63)

/* Do all page table entries say @state? Pages on the device count as swapped. */
static bool all_are(const char *mem, uint64_t state)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entries[NPAGES];
	off_t offset = (uintptr_t)mem / PAGE * sizeof(*entries);

	if (fd < 0 || pread(fd, entries, sizeof(entries), offset) != sizeof(entries))
		err(1, "/proc/self/pagemap");
	close(fd);
	for (size_t i = 0; i < NPAGES; i++) {
		if ((entries[i] & (PM_SWAP | PM_PRESENT)) == state)
			continue;
		warnx("page %zu: entry %#llx", i, (unsigned long long)entries[i]);
		return false;
	}
	return true;
}

int main(void)
{
	char *mem = map_pages(NPAGES), *buf = map_pages(NPAGES);
	int fd = dev_open(0), status = 0;
	char line[8];
	pid_t child;

	if (mem == MAP_FAILED || buf == MAP_FAILED || fd < 0)
		err(1, "cannot begin");
	fill(mem, NPAGES, SEED);
	if (dev_take(fd, mem, NPAGES, buf) != NPAGES)
		errx(1, "the pages do not go to the device");
	if (close(fd))
		err(1, "close");
	if (!all_are(mem, PM_SWAP))
		errx(1, "the pages left the device when the file was closed");

	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child) {
		puts("holding");
		fflush(stdout);
		if (read(STDIN_FILENO, line, sizeof(line)) > 0 && !all_are(mem, PM_PRESENT))
			errx(1, "pages are missing");
		if (waitpid(child, &status, 0) != child || status)
			errx(1, "the child's pages are lost");
	} else {
		/* The parent takes the line, we wait for the end. */
		while (read(STDIN_FILENO, line, sizeof(line)) > 0)
			;
	}
	return !holds(mem, NPAGES, SEED);
}
