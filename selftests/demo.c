// SPDX-License-Identifier: GPL-2.0
/*
 * demo [--color|--plain]: takes a few MiB of memory to the device and back, draws
 * where every page lives at each step, and checks what the pages hold.
 */
#include <err.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "demo.h"
#include "lib.h"

#define PAGES_PER_CHARACTER	4

enum { POPULATED, UNTOUCHED, ZERO_PAGE, READ_ONLY, WHOLE, REGIONS };

/* The huge page's region comes first in memory, for its alignment, and last on the picture. */
static const struct region regions[REGIONS] = {
	[POPULATED] = { "populated", 512, 256 },
	[UNTOUCHED] = { "untouched", 768, 256 },
	[ZERO_PAGE] = { "zero page", 1024, 256 },
	[READ_ONLY] = { "read-only", 1280, 256 },
	[WHOLE] = { "huge", 0, 512 },
};

#define NPAGES	1536

/* Numbers of contents, see fill(): no page's are another's. */
enum { ZEROES = 0, FROM_CPU = NPAGES, FROM_DEVICE = 2 * NPAGES };

static int fd;
static char *mem, *buf;
static bool color;

/* What each page must hold: the number of its contents. */
static uint64_t expected[NPAGES];

static char *start_of(int region)
{
	return mem + regions[region].first * PAGE;
}

static size_t size_of(int region)
{
	return regions[region].npages * PAGE;
}

/* The first @npages of the region hold what was filled in from @seed + their number. */
static void expect(int region, size_t npages, uint64_t seed)
{
	size_t first = regions[region].first;

	for (size_t page = first; page < first + npages; page++)
		expected[page] = seed + page;
}

static void check(const char *data, const char *whose)
{
	for (size_t page = 0; page < NPAGES; page++) {
		const char *at = data + page * PAGE;

		if (expected[page] == ZEROES ? !is_zero(at, 1) : !holds(at, 1, expected[page]))
			errx(1, "page %zu is wrong in what the %s sees", page, whose);
	}
}

/* Dies unless a request did what it was asked to. */
static void must_be(size_t npages, long done, const char *request)
{
	if (done < 0)
		errx(1, "%s: %s", request, strerror(-done));
	if ((size_t)done != npages)
		errx(1, "%s: %ld of %zu pages", request, done, npages);
}

/* Checks all pages through the device, which leaves them where they are. */
static void check_through_device(void)
{
	must_be(NPAGES, dev_read(fd, mem, NPAGES, buf), "READ");
	check(buf, "device");
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e6 + time.tv_nsec / 1e3;
}

/* A step's headline: what happened, if anything, to how many pages since @start. */
static void headline(const char *what, size_t npages, double start)
{
	double us = now() - start;

	printf("  %s%s%s", color ? "\033[1m" : "", what, color ? "\033[0m" : "");
	if (npages) {
		printf("%*s", (int)(40 - strlen(what)), "");
		printf("%5zu pages %8.0f \u00b5s %8.0f pages/s", npages, us, npages / us * 1e6);
	}
	putchar('\n');
}

static void show(void)
{
	unsigned char snapshot[NPAGES];

	must_be(NPAGES, dev_snapshot(fd, mem, NPAGES, snapshot), "SNAPSHOT");
	map_draw(regions, REGIONS, snapshot, PAGES_PER_CHARACTER, color);
}

static void make_regions(void)
{
	char *room = mmap(NULL, NPAGES * PAGE + HUGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	buf = map_pages(NPAGES);
	if (room == MAP_FAILED || buf == MAP_FAILED)
		err(1, "mmap");
	mem = (char *)(((uintptr_t)room + HUGE - 1) & ~(HUGE - 1));

	if (madvise(mem, NPAGES * PAGE, MADV_NOHUGEPAGE) ||
	    madvise(start_of(WHOLE), size_of(WHOLE), MADV_HUGEPAGE))
		err(1, "madvise");
	for (int region = 0; region < REGIONS; region++) {
		if (region == UNTOUCHED || region == ZERO_PAGE)
			continue;
		fill(start_of(region), regions[region].npages, FROM_CPU + regions[region].first);
		expect(region, regions[region].npages, FROM_CPU);
	}
	if (!is_zero(start_of(ZERO_PAGE), regions[ZERO_PAGE].npages))
		errx(1, "new memory is not zero");
	if (mprotect(start_of(READ_ONLY), size_of(READ_ONLY), PROT_READ))
		err(1, "mprotect");
}

static void migrate_to_device(void)
{
	double start = now();

	must_be(NPAGES, dev_take(fd, mem, NPAGES, buf), "MIGRATE_TO_DEV");
	headline("2. The device takes it all", NPAGES, start);
	check(buf, "device");
	show();
}

/* The device writes the first half of each region that it may write. */
static void device_writes(void)
{
	size_t written = 0;
	double start;

	fill(buf, NPAGES, FROM_DEVICE);
	start = now();
	for (int region = 0; region < REGIONS; region++) {
		size_t npages = regions[region].npages / 2;
		char *from = buf + regions[region].first * PAGE;

		if (region == READ_ONLY)
			continue;
		must_be(npages, dev_write(fd, start_of(region), npages, from), "WRITE");
		expect(region, npages, FROM_DEVICE);
		written += npages;
	}
	headline("3. The device writes to half of it", written, start);
	check_through_device();
	show();
}

/*
 * The CPU looks at the middle of each region: those pages come home, one by one, but
 * for the huge page, which comes whole.
 */
static void cpu_touches(void)
{
	size_t touched = 0;
	double start = now();

	for (int region = 0; region < REGIONS; region++) {
		size_t quarter = regions[region].npages / 4;

		for (size_t page = quarter; page < 3 * quarter; page++, touched++)
			(void)*(volatile char *)(start_of(region) + page * PAGE);
	}
	headline("4. The CPU touches the middle", touched, start);
	check_through_device();
	show();
}

/* How many pages of a region are on the device. */
static size_t on_device(int region)
{
	unsigned char snapshot[NPAGES];
	size_t npages = regions[region].npages, count = 0;

	must_be(npages, dev_snapshot(fd, start_of(region), npages, snapshot), "SNAPSHOT");
	for (size_t page = 0; page < npages; page++)
		count += (snapshot[page] & 0xf0) == HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL;
	return count;
}

static void migrate_to_system(void)
{
	size_t npages = 0;
	double start;

	for (int region = 0; region < REGIONS; region++) {
		size_t left = on_device(region);

		if (left != regions[region].npages / 2 && !(region == WHOLE && left == 0))
			errx(1, "%s: %zu pages on the device", regions[region].name, left);
		npages += left;
	}
	start = now();
	must_be(npages, dev_give(fd, mem, NPAGES), "MIGRATE_TO_SYS");
	headline("5. The rest goes home", npages, start);
	check(mem, "CPU");
	show();
}

int main(int argc, char **argv)
{
	color = argc > 1 && !strcmp(argv[1], "--color");
	/* Each step appears when it is done. */
	setvbuf(stdout, NULL, _IOLBF, 0);

	fd = dev_open(0);
	if (fd < 0)
		err(1, "/dev/hmm_dmirror0");
	make_regions();

	printf("\n  A process's memory and a device that shares it, each %s %d pages\n\n",
	       color ? "block" : "letter", PAGES_PER_CHARACTER);
	map_legend(color);
	headline("1. Before", 0, 0);
	show();
	migrate_to_device();
	device_writes();
	cpu_touches();
	migrate_to_system();
	printf("  The data was right at each step.\n\n");
	return 0;
}
