// SPDX-License-Identifier: GPL-2.0
/*
 * Each request, and each thing that a CPU does to pages on the device, for which
 * memory runs out: at its first allocation, at the second, and so on until it has no
 * further one. It may fail as documented, or do without; all data stay, it works the
 * next time, and no page is lost. (onewalk-nomem.c does that for the faults that
 * migrate.)
 */
#include "nomem-cases.h"

#define MOST		2000	/* injected failures that one act can have */
#define KEPT		16	/* pages of memory that a device keeps */

static bool set_up(struct stage *stage)
{
	char *area = map_huge(2);

	/* What is open belongs to this process's memory. */
	stage->fd = dev_open(0);
	stage->second = dev_open(0);
	stage->other = dev_open(1);
	stage->fail_nth = open_fail_nth();
	stage->mem = area;
	stage->target = area + HUGE;
	stage->buf = map_pages(NPAGES);
	stage->file = memfd_create("nomem", MFD_CLOEXEC);
	fill(stage->buf, NPAGES, SEED);
	return area != MAP_FAILED && stage->fd >= 0 && stage->second >= 0 && stage->other >= 0 &&
	       stage->fail_nth >= 0 && !pipe(stage->pipe) &&
	       pwrite(stage->file, stage->buf, NPAGES * PAGE, 0) == NPAGES * PAGE;
}

/* What each page may hold: what it held, or, if some were written, that. */
static bool page_is_right(const struct deed *deed, const char *page, size_t i, bool written)
{
	const uint64_t *word = (const void *)page;

	if (deed->writes && (written || *word == word_of(OTHER + i, 0)))
		return holds(page, 1, OTHER + i);
	return deed->zero ? is_zero(page, 1) : holds(page, 1, SEED + i);
}

/* As the device sees it, then as the CPU does. */
static bool data_are_right(const struct deed *deed, struct stage *stage, bool written)
{
	if (dev_read(stage->second, stage->at, NPAGES, stage->buf) != NPAGES)
		return false;
	for (size_t i = 0; i < NPAGES; i++) {
		if (!page_is_right(deed, stage->buf + i * PAGE, i, written) ||
		    !page_is_right(deed, stage->at + i * PAGE, i, written))
			return false;
	}
	return true;
}

/* Every failure that there is, in the group. Does not return. */
static void fail_at_each(const struct deed *deed, struct sites *sites)
{
	unsigned int nth, refused = 0, wrong = 0;
	struct stage stage = { };
	bool failed = true;

	if (!set_up(&stage) || !begin_tracing())
		_exit(1);
	for (nth = 1; failed && nth < MOST && wrong < 5; nth++) {
		int error = -1, again = 0;

		if (!deed->prepare(&stage) || !forget_kept() || !fail_at(stage.fail_nth, nth)) {
			printf("# allocation %u: not prepared: %s\n", nth, strerror(errno));
			_exit(1);
		}
		error = deed->act(&stage);
		failed = has_failed(stage.fail_nth);
		if (failed && !note_site(sites))
			printf("# allocation %u: the place is not known\n", nth);
		refused += error != 0;
		if (error == 0 || error == ENOMEM || error == deed->error) {
			/* What is left is right at once, or after a second try. */
			if (nth % 2 && error)
				again = deed->act(&stage);
			if (data_are_right(deed, &stage, !error || (nth % 2 && !again)) &&
			    !again && (failed || !error))
				continue;
		}
		printf("# allocation %u%s: error %d, then %d\n", nth, failed ? "" : " (none)",
		       error, again);
		wrong++;
	}
	end_tracing();
	printf("# %u allocations, refused for %u\n", nth - 2, refused);
	fflush(stdout);
	_exit(wrong || nth == MOST);
}

TEST_F_TIMEOUT(nomem, each_allocation, TIMEOUT)
{
	pid_t child = fork_into_group();
	int status = -1;

	ASSERT_GE(child, 0);
	if (!child)
		fail_at_each(&variant->deed, self->sites);
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(show_sites(self->sites));
	EXPECT_TRUE(devices_are_empty());
}

/* Takes pages that are charged to the group: as many are charged to it then. Does not return. */
static void take_in_group(void)
{
	char *mem = map_pages(KEPT), *buf = map_pages(KEPT);
	int fd = dev_open(0);
	size_t before, after;

	fill(mem, KEPT, SEED);
	fill(buf, KEPT, OTHER);
	/* Pages of those before may be on their way to the LRU. */
	write_file("/proc/sys/vm/compact_memory", "1");
	before = pages_charged();
	if (fd < 0 || dev_take(fd, mem, KEPT, buf) != KEPT)
		_exit(1);
	after = pages_charged();
	printf("# %zu pages were charged, then %zu\n", before, after);
	fflush(stdout);
	_exit(after + KEPT / 2 < before);
}

/* What is kept of pages of others would be charged to nobody who has pages there. */
TEST_F_TIMEOUT(afterwards, what_is_kept_is_for_its_group, TIMEOUT)
{
	char *mem = map_pages(KEPT), *buf = map_pages(KEPT);
	int fd = dev_open(0);

	fill(mem, KEPT, SEED);
	ASSERT_EQ(dev_take(fd, mem, KEPT, buf), KEPT);
	ASSERT_EQ(munmap(mem, KEPT * PAGE), 0);
	ASSERT_TRUE(make_group());
	EXPECT_EQ(status_in_group(take_in_group), 0);
	close(fd);
}

/* Moves pages, and closes the file before they go. Does not return. */
static void close_and_unmap(void)
{
	char *mem = map_pages(KEPT), *buf = map_pages(KEPT);
	int fd = dev_open(0);

	fill(mem, KEPT, SEED);
	_exit(fd < 0 || dev_take(fd, mem, KEPT, buf) != KEPT || close(fd) ||
	      munmap(mem, KEPT * PAGE));
}

TEST_F_TIMEOUT(afterwards, nothing_is_kept_for_nobody, TIMEOUT)
{
	ASSERT_TRUE(make_group());
	EXPECT_EQ(status_in_group(close_and_unmap), 0);
	EXPECT_TRUE(group_is_empty());
}

TEST_F_TIMEOUT(afterwards, no_page_is_lost, TIMEOUT)
{
	ASSERT_TRUE(make_group());
	EXPECT_TRUE(group_is_empty());
	EXPECT_EQ(rmdir(GROUP), 0);
	EXPECT_EQ(umount2(CGROUPS, 0), 0);
}

/* What must have wanted memory in vain; who called it, the cases show. */
TEST_F(afterwards, each_place_was_met)
{
	static const char *const places[] = {
		/* of the driver: files, requests, the page table, pages on their way */
		"MinorDevice::open", "ioctl::run", "leaf::Reserve", "Stock::contents::Contents",
		"Stock::fresh::SystemTarget",
		/* of mm, called by the driver */
		"__migrate_device_pages", "hmm_range_fault", "migrate_vma_collect",
		/* of mm, for the CPU, which calls the driver */
		"do_swap_page < handle_mm_fault < hmm", "copy_process", "vm_area_dup",
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		EXPECT_TRUE(have_seen(places[i])) {
			TH_LOG("%s has not been without memory", places[i]);
		}
	}
}

TEST_HARNESS_MAIN
