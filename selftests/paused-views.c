// SPDX-License-Identifier: GPL-2.0
/*
 * What a process learns of its pages, and marks them with, while another, with
 * which it shares them since fork(), has them moved. The migration is stopped
 * half-way meanwhile.
 */
#include "paused.h"

#include "ksm.h"
#include "uffd.h"

#define PM_FILE	(1ULL << 61)

/* What smaps says of an area. */
enum usage { RSS, PSS, ANONYMOUS, HUGE_ONES, SWAPPED, USAGES };

static const char *const names[USAGES] = {
	"Rss:", "Pss:", "Anonymous:", "AnonHugePages:", "Swap:",
};

/* In kB, of the one area that begins at @mem, in the process @pid. */
static bool read_smaps(const char *pid, const char *mem, long *usage)
{
	char path[32], start[32], line[256];
	unsigned int found = 0;
	bool here = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%s/smaps", pid);
	snprintf(start, sizeof(start), "%lx-", (unsigned long)mem);
	file = fopen(path, "re");
	if (!file)
		return false;
	while (fgets(line, sizeof(line), file)) {
		if (!strncmp(line, start, strlen(start)))
			here = true;
		for (int i = 0; here && i < USAGES; i++) {
			if (strncmp(line, names[i], strlen(names[i])))
				continue;
			usage[i] = strtol(line + strlen(names[i]), NULL, 10);
			found++;
		}
		here = here && found < USAGES;
	}
	fclose(file);
	return found == USAGES;
}

/* All is there, @shared with one other process as far as smaps can tell. */
static bool is_usage(const char *pid, const char *mem, long kib, bool huge, bool shared)
{
	const long expected[USAGES] = { kib, shared ? kib / 2 : kib, kib, huge ? kib : 0, 0 };
	long usage[USAGES];

	if (!read_smaps(pid, mem, usage)) {
		printf("# no smaps\n");
		return false;
	}
	for (int i = 0; i < USAGES; i++) {
		if (usage[i] == expected[i])
			continue;
		printf("# %s %ld kB, expected %ld\n", names[i], usage[i], expected[i]);
		return false;
	}
	return true;
}

/*
 * The pages count for each of both processes, and nothing as swapped. How many share
 * a page that is on its way smaps cannot know; it counts it in full then.
 */
TEST_F_TIMEOUT(paused, smaps, TIMEOUT)
{
	long kib = self->npages * PAGE / 1024;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", self->mover.pid);
	EXPECT_TRUE(is_usage("self", self->mem, kib, variant->huge, true));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(is_usage("self", self->mem, kib, variant->huge, false));
	EXPECT_TRUE(is_usage(pid, self->mem, kib, variant->huge, false));
	RESUME();
	EXPECT_TRUE(is_usage("self", self->mem, kib, variant->huge, true));
	EXPECT_TRUE(is_usage(pid, self->mem, kib, variant->huge, true));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
}

/* They are not present, and not of a file. */
TEST_F_TIMEOUT(paused, pagemap, TIMEOUT)
{
	uint64_t before[HUGE_PAGES], now[HUGE_PAGES];

	ASSERT_TRUE(read_pagemap(self->mem, self->npages, before));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SWAP | PM_PRESENT | PM_FILE, PM_SWAP));
	EXPECT_TRUE(read_pagemap(self->mem, self->npages, now));
	for (size_t i = 0; i < self->npages; i++)
		ASSERT_EQ((now[i] ^ before[i]) & (PM_SOFT_DIRTY | PM_UFFD), 0);
	RESUME();
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
}

/* They are in memory, whatever memory that is. */
TEST_F_TIMEOUT(paused, mincore, TIMEOUT)
{
	unsigned char resident[HUGE_PAGES] = {};

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(mincore(self->mem, self->npages * PAGE, resident), 0);
	for (size_t i = 0; i < self->npages; i++)
		ASSERT_EQ(resident[i] & 1, 1);
	RESUME();
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
}

TEST_F_TIMEOUT(paused, soft_dirty, TIMEOUT)
{
	ASSERT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
	EXPECT_TRUE(clear_soft_dirty());
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	RESUME();
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	fill(self->mem, self->npages, OTHER);
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
}

/* What was clean when the pages were collected stays so. */
TEST_F_TIMEOUT(paused, soft_clean, TIMEOUT)
{
	ASSERT_TRUE(clear_soft_dirty());
	ASSERT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	RESUME();
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, 0));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	fill(self->mem, self->npages, OTHER);
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_SOFT_DIRTY, PM_SOFT_DIRTY));
}

/* Every page that is protected then takes a fault when it is written. */
TEST_F_TIMEOUT(paused, write_protect, TIMEOUT)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, self->npages, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(uffd_protect(&uffd, self->mem, self->npages, true));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, PM_UFFD));
	RESUME();
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, PM_UFFD));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, PM_UFFD));
	ASSERT_TRUE(uffd_start(&uffd));
	fill(self->mem, self->npages, OTHER);
	EXPECT_TRUE(uffd_served(&uffd, 0, self->npages, 0));
	EXPECT_TRUE(holds(self->mem, self->npages, OTHER));
	EXPECT_EQ(close(uffd.fd), 0);
}

/* Protected before, and free again half-way. */
TEST_F_TIMEOUT(paused, write_unprotect, TIMEOUT)
{
	struct uffd uffd;

	ASSERT_TRUE(uffd_open(&uffd, UFFD_FEATURE_PAGEFAULT_FLAG_WP, self->mem, SEED));
	ASSERT_TRUE(uffd_register(&uffd, self->mem, self->npages, UFFDIO_REGISTER_MODE_WP));
	ASSERT_TRUE(uffd_protect(&uffd, self->mem, self->npages, true));
	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, PM_UFFD));
	EXPECT_TRUE(uffd_protect(&uffd, self->mem, self->npages, false));
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, 0));
	RESUME();
	EXPECT_TRUE(all_marked(self->mem, self->npages, PM_UFFD, 0));
	ASSERT_TRUE(uffd_start(&uffd));
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	fill(self->mem, self->npages, OTHER);
	EXPECT_TRUE(uffd_served(&uffd, 0, 0, 0));
	EXPECT_EQ(close(uffd.fd), 0);
}

/* Has KSM looked at all that it shall look at? */
static bool has_scanned(void)
{
	uint64_t end = clock_ms() + PAUSE_MS / 2;
	long first = read_number_at(KSM "full_scans");

	while (read_number_at(KSM "full_scans") < first + 2) {
		if (first < 0 || clock_ms() > end)
			return false;
		sleep_for_ms(1);
	}
	return true;
}

/* KSM looks for equal pages there, and there are none. */
TEST_F_TIMEOUT(paused, ksm, TIMEOUT)
{
	size_t size = self->npages * PAGE;

	ASSERT_TRUE(pause_half_way(&self->mover));
	EXPECT_EQ(madvise(self->mem, size, MADV_MERGEABLE), 0);
	EXPECT_TRUE(write_file(KSM "sleep_millisecs", "1"));
	EXPECT_TRUE(write_file(KSM "pages_to_scan", "1000"));
	EXPECT_TRUE(write_file(KSM "run", "1"));
	EXPECT_TRUE(has_scanned());
	EXPECT_TRUE(write_file(KSM "run", "0"));
	RESUME();
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	EXPECT_EQ(madvise(self->mem, size, MADV_UNMERGEABLE), 0);
	fill(self->mem, self->npages, OTHER);
	EXPECT_TRUE(holds(self->mem, self->npages, OTHER));
}

/* Advice that has no effect on what is not present must do no harm. */
TEST_F_TIMEOUT(paused, advice, TIMEOUT)
{
	static const int advices[] = {
		MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_NOHUGEPAGE, MADV_DONTFORK, MADV_DOFORK,
	};

	ASSERT_TRUE(pause_half_way(&self->mover));
	for (size_t i = 0; i < sizeof(advices) / sizeof(*advices); i++)
		EXPECT_EQ(madvise(self->mem, self->npages * PAGE, advices[i]), 0);
	RESUME();
	EXPECT_TRUE(holds(self->mem, self->npages, SEED));
	fill(self->mem, self->npages, OTHER);
}

TEST_HARNESS_MAIN
