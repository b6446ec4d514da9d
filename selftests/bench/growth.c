// SPDX-License-Identifier: GPL-2.0
/*
 * What grows with what? Each operation with ever more pages at a time, with ever more
 * open files, and with ever more of the device's memory in use.
 *
 *   bench-growth PAGES USED   at most PAGES at a time; less than USED beside
 *
 * Prints lines for scripts/bench-report, the last of which is "done":
 *
 *   growth pages|files|used OPERATION NUMBER INSTRUCTIONS
 *
 * The instructions are those of one call: for NUMBER pages; for CALL_PAGES, with
 * NUMBER files open beside; for one page, with NUMBER pages on the device beside.
 */
#include "calls.h"

#define CALL_PAGES	64
#define MOST_FILES	256
#define TIMES		4

static char *room;	/* beside that at @mem */
static size_t most, most_used;

/* As many pages as one likes that are the same 2 MiB of memory. */
static char *map_repeated(size_t pages)
{
	int memory = memfd_create("buffer", MFD_CLOEXEC);
	char *buffer = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	must(memory >= 0 && !ftruncate(memory, HUGE) && buffer != MAP_FAILED, "no buffer");
	for (size_t page = 0; page < pages; page += BLOCK_PAGES)
		must(mmap(buffer + page * PAGE, HUGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_FIXED | MAP_POPULATE, memory, 0) != MAP_FAILED,
		     "no buffer");
	close(memory);
	return buffer;
}

/*
 * Small pages, of which one word is written. No two that follow each other are
 * neighbours in memory, too: what can be copied in one piece would depend on how
 * much of that is still in order.
 */
static void populate(char *pages, size_t count)
{
	must(mmap(pages, count * PAGE, PROT_READ | PROT_WRITE,
		  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == pages, "mmap");
	must(!madvise(pages, count * PAGE, MADV_NOHUGEPAGE), "madvise");
	for (size_t odd = 0; odd <= 1; odd++)
		for (size_t i = odd; i < count; i += 2)
			*(volatile uint64_t *)(pages + i * PAGE) = SEED + i;
}

static void show(const char *quantity, const char *operation, size_t number, uint64_t took)
{
	printf("growth %s %s %zu %llu\n", quantity, operation, number, (unsigned long long)took);
}

/* --- Rounds ----------------------------------------------------------------------------- */

/* In this order, each as the one before has left the pages. */
static const struct step {
	const char *name;
	long (*call)(void);
} steps[] = {
	{ "read/cold", read_by_device },
	{ "snapshot", take_snapshot },
	{ "to-device", take },
	{ "to-system", give_back },
	{ "again", take },
	{ "cpu-fault", write_in_order },
	{ "unmap", unmap },
};

static void run_steps(uint64_t *least)
{
	uint64_t took;

	populate(mem, npages);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		long result;

		took = instructions();
		result = steps[i].call();
		took = instructions() - took;
		if (result != (long)npages)
			errx(1, "%s of %zu pages: %ld", steps[i].name, npages, result);
		if (took < least[i])
			least[i] = took;
	}
}

static void open_and_close(uint64_t *opened, uint64_t *closed)
{
	uint64_t before = instructions();
	int new = dev_open(0);
	uint64_t between = instructions();

	must(new >= 0, "open");
	close(new);
	if (between - before < *opened)
		*opened = between - before;
	if (instructions() - between < *closed)
		*closed = instructions() - between;
}

/* One number of what grows. */
static void measure(const char *quantity, size_t number, int times)
{
	uint64_t least[ARRAY_SIZE(steps)], opened = UINT64_MAX, closed = UINT64_MAX;

	memset(least, 0xff, sizeof(least));
	for (int i = 0; i < times; i++) {
		run_steps(least);
		open_and_close(&opened, &closed);
	}
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		show(quantity, steps[i].name, number, least[i]);
	if (!strcmp(quantity, "pages"))
		return;
	show(quantity, "open", number, opened);
	show(quantity, "close", number, closed);
}

static void with_more_pages(void)
{
	for (npages = CALL_PAGES; npages <= most; npages *= 8)
		measure("pages", npages, npages > 8192 ? 1 : TIMES);
}

static void with_more_files(void)
{
	int files[MOST_FILES];
	size_t count = 0;

	npages = CALL_PAGES;
	for (size_t number = 1; number <= MOST_FILES; number *= 4) {
		for (; count < number; count++) {
			files[count] = dev_open(0);
			must(files[count] >= 0, "open");
		}
		measure("files", number, TIMES);
	}
	while (count)
		close(files[--count]);
}

static void with_more_in_use(void)
{
	size_t used = 0;

	npages = 1;
	measure("used", 0, TIMES);
	while (used + CHUNK_PAGES < most_used) {
		char *pages = room + used * PAGE;

		populate(pages, CHUNK_PAGES);
		for (size_t page = 0; page < CHUNK_PAGES; page += BLOCK_PAGES)
			must(dev_take(fd, pages + page * PAGE, BLOCK_PAGES, in) == BLOCK_PAGES,
			     "MIGRATE_TO_DEV");
		used += CHUNK_PAGES;
		/* At powers of two, and the last. */
		if (!(used & (used - 1)) || used + CHUNK_PAGES >= most_used)
			measure("used", used, TIMES);
	}
	must(!used || !munmap(room, used * PAGE), "munmap");
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 3)
		errx(2, "usage: bench-growth PAGES USED");
	check_cpu();
	check_clock();
	most = strtoul(argv[1], NULL, 10);
	most_used = strtoul(argv[2], NULL, 10);
	must(most >= BLOCK_PAGES && most_used >= most, "how many pages?");
	fd = dev_open(0);
	must(fd >= 0, "no device");
	in = map_repeated(most);
	mem = find_room((most + most_used) * PAGE);
	room = mem + most * PAGE;

	/* What they need is registered before; what is beside them registers more. */
	npages = most;
	populate(mem, npages);
	must(take() == (long)npages, "MIGRATE_TO_DEV");
	must(unmap() == (long)npages, "munmap");

	with_more_pages();
	with_more_files();
	with_more_in_use();
	printf("done\n");
	return 0;
}
