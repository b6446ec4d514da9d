// SPDX-License-Identifier: GPL-2.0
/*
 * What does each operation of a device cost, in instructions?
 *
 *   bench-operations [-m] [-o OPERATION]... PAGES...
 *
 * For so many pages at a time, the least of several times; all of them, or with -o
 * only some of those that have pages. With -m the last call of each is marked for
 * profile.c, and where functions are is printed at the end.
 *
 * Prints lines for scripts/bench-report, the last of which is "done":
 *
 *   operation NAME PAGES COPIES INSTRUCTIONS
 *   memory KIND COUNT BYTES
 *
 * COPIES: how many times all bytes of the pages must be copied or cleared, for what
 * the operation is: by a device with memory of its own, and into the caller's buffer.
 */
#include "operations.h"

#define MOST_FILES	256

/* --- Operations --------------------------------------------------------------------- */

static bool is_peer(void)
{
	return !strcmp(getenv("DRIVER") ?: "", "test_hmm");
}

static bool is_measured(const struct operation *operation)
{
	if (operation->own && is_peer())
		return false;
	switch (operation->sizes) {
	case BLOCKS:
		return npages % BLOCK_PAGES == 0;
	case PARTS:
		return npages < BLOCK_PAGES;
	default:
		return true;
	}
}

static bool marks;

/* The guest is the same from boot to boot, but the timer ticks where it likes. */
static int repetitions(void)
{
	if (marks)
		return 2;
	if (npages < BLOCK_PAGES)
		return 7;
	if (npages == BLOCK_PAGES)
		return 4;
	return npages <= 8192 ? 2 : 1;
}

static void measure(const struct operation *operation)
{
	uint64_t least = UINT64_MAX, took;
	long result;

	snprintf(what, sizeof(what), "%s %zu", operation->name, npages);
	for (int i = 0; i < repetitions(); i++) {
		operation->make();
		/* What the call needs of our own, a fork may have taken away. */
		must(dev_read(fd, mem + 1, npages, in) == -EINVAL, "a bad address");
		if (marks && i == repetitions() - 1)
			window_opens();
		took = instructions();
		result = operation->call();
		took = instructions() - took;
		if (marks && i == repetitions() - 1)
			window_closes();
		/* The C driver counts a huge page as one. */
		if (result != (long)npages && !(is_peer() && result * BLOCK_PAGES == npages))
			errx(1, "%s: %ld", what, result);
		if (took < least)
			least = took;
		if (operation->call != unmap)
			must(!munmap(mem, npages * PAGE), "munmap");
		if (operation->undo)
			operation->undo();
	}
	printf("operation %s %u %llu\n", what, operation->copies, (unsigned long long)least);
}

/* --- Files --------------------------------------------------------------------------- */

static void report_call(const char *name, uint64_t least)
{
	printf("operation %s 1 0 %llu\n", name, (unsigned long long)least);
}

/* open() and close(), and close() with pages that the device knows. */
static void measure_files(void)
{
	uint64_t opened = UINT64_MAX, closed = UINT64_MAX, known = UINT64_MAX, took;

	npages = BLOCK_PAGES;
	for (int i = 0; i < 7; i++) {
		int new;

		took = instructions();
		new = dev_open(0);
		took = instructions() - took;
		opened = took < opened ? took : opened;
		must(new >= 0, "open");

		took = instructions();
		close(new);
		took = instructions() - took;
		closed = took < closed ? took : closed;

		make_populated();
		new = dev_open(0);
		must(dev_read(new, mem, npages, in) == (long)npages, "READ");
		took = instructions();
		close(new);
		took = instructions() - took;
		known = took < known ? took : known;
		must(!munmap(mem, npages * PAGE), "munmap");
	}
	report_call("open", opened);
	report_call("close", closed);
	report_call("close/512-known", known);
}

/*
 * A device with a full chunk of memory (256 MiB, of either driver) has to register
 * another one. The memory of the first was registered with the device.
 */
static void measure_growth(void)
{
	uint64_t least = UINT64_MAX, most = 0, took;

	npages = CHUNK_PAGES + BLOCK_PAGES;
	make_populated();
	for (size_t page = 0; page < npages; page += BLOCK_PAGES) {
		took = instructions();
		must(dev_take(fd, mem + page * PAGE, BLOCK_PAGES, in) == BLOCK_PAGES,
		     "MIGRATE_TO_DEV");
		took = instructions() - took;
		least = took < least ? took : least;
		most = took > most ? took : most;
	}
	must(!munmap(mem, npages * PAGE), "munmap");
	report_call("growth", most - least);
}

/* --- Memory -------------------------------------------------------------------------- */

/* Pages that are free, or kept at hand by a processor. */
static long free_pages(void)
{
	FILE *info;
	char line[256];
	long sum = 0;

	/* What is given back behind a grace period. */
	usleep(200000);
	info = fopen("/proc/zoneinfo", "r");
	must(info, "/proc/zoneinfo");
	while (fgets(line, sizeof(line), info)) {
		long count;

		if (sscanf(line, " pages free %ld", &count) == 1 ||
		    sscanf(line, " count: %ld", &count) == 1)
			sum += count;
	}
	fclose(info);
	return sum;
}

static void report_memory(const char *kind, size_t count, long pages)
{
	printf("memory %s %zu %ld\n", kind, count, pages * (long)PAGE);
}

/* What the kernel keeps for pages that a device knows, has, and for open files. */
static void measure_memory(void)
{
	int files[MOST_FILES], new;
	long before;

	/* Of a file of its own, which has not seen these addresses. */
	new = dev_open(0);
	must(new >= 0, "open");
	npages = CHUNK_PAGES / 2;
	make_populated();
	before = free_pages();
	for (size_t page = 0; page < npages; page += BLOCK_PAGES)
		must(dev_read(new, mem + page * PAGE, BLOCK_PAGES, in) == BLOCK_PAGES, "READ");
	report_memory("known-page", npages, before - free_pages());

	/* A page of system memory goes, and one for the contents comes. */
	before = free_pages() + npages;
	for (size_t page = 0; page < npages; page += BLOCK_PAGES)
		must(dev_take(new, mem + page * PAGE, BLOCK_PAGES, in) == BLOCK_PAGES,
		     "MIGRATE_TO_DEV");
	report_memory("device-page", npages, before - free_pages());
	must(!munmap(mem, npages * PAGE), "munmap");
	close(new);

	before = free_pages();
	for (size_t i = 0; i < MOST_FILES; i++)
		files[i] = dev_open(0);
	must(files[MOST_FILES - 1] >= 0, "open");
	report_memory("open-file", MOST_FILES, before - free_pages());
	for (size_t i = 0; i < MOST_FILES; i++)
		close(files[i]);
}

static bool is_named(const char *name, char * const *names)
{
	for (; *names; names++)
		if (!strcmp(*names, name))
			return true;
	return false;
}

/* Of the kernel and of modules. */
static void show_symbols(void)
{
	FILE *symbols = fopen("/proc/kallsyms", "r");
	char line[512];

	must(symbols, "/proc/kallsyms");
	while (fgets(line, sizeof(line), symbols))
		printf("symbol %s", line);
	fclose(symbols);
}

int main(int argc, char **argv)
{
	char *names[ARRAY_SIZE(operations) + 1] = {};
	size_t count = 0;
	int option;

	while ((option = getopt(argc, argv, "mo:")) > 0) {
		if (option == 'm')
			marks = true;
		else if (option == 'o' && count < ARRAY_SIZE(operations))
			names[count++] = optarg;
		else
			errx(2, "no such option");
	}
	argv += optind;
	if (!*argv)
		errx(2, "usage: bench-operations [-o OPERATION]... PAGES...");
	check_cpu();
	check_clock();
	prepare(argv);
	/*
	 * In this order: what a device has registered it keeps, and the kernel what is
	 * freed, for the next who asks for as much.
	 */
	if (!count) {
		measure_memory();
		measure_growth();
	}
	let_devices_grow();
	if (!count)
		measure_files();
	for (; *argv; argv++) {
		npages = strtoul(*argv, NULL, 10);
		for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
			if (is_measured(&operations[i]) &&
			    (!count || is_named(operations[i].name, names)))
				measure(&operations[i]);
	}
	if (marks)
		show_symbols();
	printf("done\n");
	return 0;
}
