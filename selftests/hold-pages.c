// SPDX-License-Identifier: GPL-2.0
/*
 * hold-pages [UNIT [pipe|exclusive]]: two processes that share pages on the device
 * UNIT (0), small ones, and in private memory a huge one and one that is huge but
 * mapped in pieces, with no file open, so that nothing but the pages stands in the
 * way of unloading the driver. With "pipe" one of the pages is in a pipe as well;
 * with "exclusive" one of them has one more page there, to which another device has
 * exclusive access.
 *
 * Prints a line when the pages are there, then waits for a line or the end of
 * its input. With a line the pipe is emptied; without pipe the pages must be back
 * in system memory then, untouched by us. In either case they must be intact: the
 * exit status says so.
 */
#include <err.h>
#include <stdlib.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib.h"

#define BLOCK	512UL		/* pages */
#define BLOCKS	3
#define NPAGES	(BLOCKS * BLOCK)
#define SEED	1000

#define PM_PRESENT	(1ULL << 63)

/* The page table's entries of @mem: each tells the page that it maps. */
static void read_entries(const char *mem, uint64_t *entries)
{
	const ssize_t size = NPAGES * sizeof(*entries);
	int fd = open("/proc/self/pagemap", O_RDONLY);

	if (fd < 0 || pread(fd, entries, size, (uintptr_t)mem / PAGE * sizeof(*entries)) != size)
		err(1, "/proc/self/pagemap");
	close(fd);
}

/* BLOCKS blocks: the first one never becomes a huge page, the others do. */
static char *map_blocks(void)
{
	const size_t block = BLOCK * PAGE;
	char *room = mmap(NULL, (BLOCKS + 1) * block, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	char *mem = (char *)(((uintptr_t)room + block - 1) & ~(block - 1));

	if (room == MAP_FAILED || madvise(mem, block, MADV_NOHUGEPAGE) ||
	    madvise(mem + block, (BLOCKS - 1) * block, MADV_HUGEPAGE))
		err(1, "cannot map memory");
	return mem;
}

static void make_pages(int unit, char *mem, uint64_t *entries)
{
	char *buf = map_pages(NPAGES);
	int fd = dev_open(unit);
	uint64_t now[NPAGES];

	if (buf == MAP_FAILED || fd < 0)
		err(1, "cannot begin");
	fill(mem, NPAGES, SEED);
	if (dev_take(fd, mem, NPAGES, buf) != NPAGES)
		errx(1, "the pages do not go to the device");
	munmap(buf, NPAGES * PAGE);
	if (unit < 2 &&
	    (!all_at(fd, mem, BLOCK, AT_DEVICE) ||
	     !all_at(fd, mem + BLOCK * PAGE, NPAGES - BLOCK, AT_DEVICE | HMM_DMIRROR_PROT_PMD)))
		errx(1, "the huge pages are not there as such");
	/* Changes nothing but how the last huge page is mapped. */
	if (mprotect(mem + (NPAGES - 1) * PAGE, PAGE, PROT_READ))
		err(1, "mprotect");
	read_entries(mem, entries);
	if (close(fd))
		err(1, "close");
	read_entries(mem, now);
	if (memcmp(entries, now, sizeof(now)))
		errx(1, "pages left the device when the file was closed");
}

/* Every page is another than @before, and the CPU can use it. */
static void check_that_all_moved(const char *mem, const uint64_t *before)
{
	uint64_t now[NPAGES];

	read_entries(mem, now);
	for (size_t i = 0; i < NPAGES; i++) {
		if (now[i] == before[i] || !(now[i] & PM_PRESENT))
			errx(1, "page %zu did not come home: entry %#llx", i,
			     (unsigned long long)now[i]);
	}
}

/* A page on the device @unit that is out of reach for the CPU until it is touched. */
static void make_exclusive_page(int unit, char *page)
{
	static char buf[PAGE] __attribute__((aligned(8)));
	int fd = dev_open(unit), other = dev_open(0);

	fill(page, 1, SEED);
	if (dev_take(fd, page, 1, buf) != 1 ||
	    dev_hold(other, page, 1, buf) != 1 ||
	    !holds(buf, 1, SEED))
		errx(1, "no exclusive page");
	close(fd);
	close(other);
}

static void empty_pipe(int from)
{
	static char buf[PAGE] __attribute__((aligned(8)));

	if (read(from, buf, PAGE) != PAGE || !holds(buf, 1, SEED))
		errx(1, "the page in the pipe is lost");
	close(from);
}

int main(int argc, char **argv)
{
	char *mem = map_blocks(), *page = map_pages(1), line[8];
	struct iovec iov = { .iov_base = mem, .iov_len = PAGE };
	bool in_pipe = argc > 2 && !strcmp(argv[2], "pipe");
	bool exclusive = argc > 2 && !strcmp(argv[2], "exclusive");
	int unit = argc > 1 ? atoi(argv[1]) : 0, pipes[2], status = 0;
	uint64_t entries[NPAGES];
	pid_t child;

	if (page == MAP_FAILED || pipe(pipes))
		err(1, "cannot begin");
	make_pages(unit, mem, entries);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child) {
		if (in_pipe && vmsplice(pipes[1], &iov, 1, 0) != PAGE)
			err(1, "vmsplice");
		close(pipes[1]);
		/* After the fork, which would take it back. */
		if (exclusive)
			make_exclusive_page(unit, page);
		puts("holding");
		fflush(stdout);
		if (read(STDIN_FILENO, line, sizeof(line)) > 0) {
			if (in_pipe)
				empty_pipe(pipes[0]);
			else
				check_that_all_moved(mem, entries);
		}
		if (exclusive && !holds(page, 1, SEED))
			errx(1, "the exclusive page is lost");
		if (waitpid(child, &status, 0) != child || status)
			errx(1, "the child's pages are lost");
	} else {
		close(pipes[0]);
		close(pipes[1]);
		/* The parent takes the line, we wait for the end. */
		while (read(STDIN_FILENO, line, sizeof(line)) > 0)
			;
	}
	return !holds(mem, NPAGES, SEED);
}
