// SPDX-License-Identifier: GPL-2.0
/*
 * A migrating fault for which memory runs out: at its first allocation, at the
 * second and so on until it has no further one, for pages in each state that has
 * allocations of its own. It may fail, or move less; but all data stay, it works the
 * next time, and no page is lost.
 */
#include <kselftest_harness.h>

#include "nomem-acts.h"
#include "nomem-fixture.h"
#include "onewalk-hazards.h"

#define MOST		1000	/* injected failures that one fault can have */

/* Each case is one of these states, before each fault. */
struct state {
	bool (*prepare)(struct stage *stage);
	bool zero;		/* The pages are full of zeroes, not filled from SEED. */
	long reads, writes;	/* pages that move by a fault for reading or writing */
};

FIXTURE_VARIANT(nomem)
{
	struct state state;
};

/* The page table is missing, too. */
FIXTURE_VARIANT_ADD(nomem, hole)
{
	.state = { map_afresh, true, NPAGES, NPAGES },
};

FIXTURE_VARIANT_ADD(nomem, populated)
{
	.state = { populate, false, NPAGES, NPAGES },
};

FIXTURE_VARIANT_ADD(nomem, swapped_out)
{
	.state = { populate_swap, false, NPAGES, NPAGES },
};

FIXTURE_VARIANT_ADD(nomem, forked)
{
	.state = { populate_and_share, false, NPAGES, NPAGES },
};

static bool map_file_and_read(struct stage *stage)
{
	return map_private_file(stage) && holds(stage->mem, NPAGES, SEED);
}

/* A write fault copies the pages; else they stay. */
FIXTURE_VARIANT_ADD(nomem, private_file)
{
	.state = { map_file_and_read, false, 0, NPAGES },
};

static bool map_empty_file(struct stage *stage)
{
	int file = memfd_create("empty", MFD_CLOEXEC);
	bool done = map_afresh(stage) && !ftruncate(file, HUGE) &&
		    map_at(stage->mem, MAP_SHARED, file);

	close(file);
	return done;
}

FIXTURE_VARIANT_ADD(nomem, shared_file)
{
	.state = { map_empty_file, true, 0, 0 },
};

FIXTURE_VARIANT_ADD(nomem, huge)
{
	.state = { populate_huge, false, NPAGES, NPAGES },
};

FIXTURE_VARIANT_ADD(nomem, second_device)
{
	.state = { put_on_other, false, NPAGES, NPAGES },
};

/* Read-only on the device: for a write fault they have to come home first. */
static bool put_on_device_shared(struct stage *stage)
{
	return populate_and_share(stage) &&
	       dev_faults(stage->fd, false, stage->mem, NPAGES) == NPAGES;
}

FIXTURE_VARIANT_ADD(nomem, own_read_only)
{
	.state = { put_on_device_shared, false, NPAGES, NPAGES },
};

static bool set_up(struct stage *stage)
{
	char *area = map_huge(2);

	/* What is open belongs to this process's memory. */
	stage->fd = dev_open(0);
	stage->other = dev_open(1);
	stage->fail_nth = open_fail_nth();
	stage->mem = area;
	stage->target = area + HUGE;
	stage->buf = map_pages(NPAGES);
	stage->file = memfd_create("nomem", MFD_CLOEXEC);
	fill(stage->buf, NPAGES, SEED);
	return area != MAP_FAILED && stage->fd >= 0 && stage->other >= 0 &&
	       stage->fail_nth >= 0 &&
	       pwrite(stage->file, stage->buf, NPAGES * PAGE, 0) == NPAGES * PAGE;
}

/* As the device sees it, then as the CPU does. */
static bool data_are_right(struct stage *stage, bool zero)
{
	if (dev_read(stage->fd, stage->mem, NPAGES, stage->buf) != NPAGES)
		return false;
	return zero ? is_zero(stage->buf, NPAGES) && is_zero(stage->mem, NPAGES) :
	       holds(stage->buf, NPAGES, SEED) && holds(stage->mem, NPAGES, SEED);
}

/*
 * All failures of one kind of fault. The device reads after some of them without a
 * second fault, and after others what a fault that works made of it.
 */
static unsigned int fail_at_each(const struct state *state, struct stage *stage,
				 struct sites *sites, bool write)
{
	long moves = write ? state->writes : state->reads;
	unsigned int nth, wrong = 0, refused = 0, fewer = 0;
	bool failed = true;

	for (nth = 1; failed && nth < MOST && wrong < 5; nth++) {
		long ret, again = moves;
		bool right;

		if (!state->prepare(stage) || !forget_kept() || !fail_at(stage->fail_nth, nth)) {
			printf("# allocation %u: not prepared: %s\n", nth, strerror(errno));
			return 1;
		}
		ret = dev_faults(stage->fd, write, stage->mem, NPAGES);
		failed = has_failed(stage->fail_nth);
		if (failed && !note_site(sites))
			printf("# allocation %u: the place is not known\n", nth);
		refused += ret < 0;
		fewer += ret >= 0 && ret < moves;
		if (nth % 2)
			again = dev_faults(stage->fd, write, stage->mem, NPAGES);
		right = data_are_right(stage, state->zero);
		if (right && again == moves && ret <= moves && (failed || ret == moves) &&
		    (ret >= 0 || ret == -ENOMEM || ret == -EFAULT))
			continue;
		printf("# allocation %u%s: returned %ld, then %ld, data %s\n", nth,
		       failed ? "" : " (none)", ret, again, right ? "right" : "wrong");
		wrong++;
	}
	printf("# %s fault: %u allocations, refused for %u, moved less for %u\n",
	       write ? "write" : "read", nth - 2, refused, fewer);
	return wrong + (nth == MOST);
}

/* In the group. Does not return. */
static void fail_both(const struct state *state, struct sites *sites)
{
	struct stage stage = { };
	unsigned int wrong = 0;

	if (!set_up(&stage) || !begin_tracing())
		_exit(1);
	for (int write = 0; write <= 1; write++)
		wrong += fail_at_each(state, &stage, sites, write);
	end_tracing();
	fflush(stdout);
	_exit(wrong != 0);
}

TEST_F_TIMEOUT(nomem, fault, TIMEOUT)
{
	uint64_t end = race_end();

	do {
		pid_t child = fork_into_group();
		int status = -1;

		ASSERT_GE(child, 0);
		if (!child)
			fail_both(&variant->state, self->sites);
		ASSERT_EQ(waitpid(child, &status, 0), child);
		EXPECT_EQ(status, 0);
		EXPECT_TRUE(devices_are_empty());
	} while (now_ns() < end && !_metadata->exit_code);
	EXPECT_TRUE(show_sites(self->sites));
}

/* How many pages are on no list, although nobody works on them? */
static long isolated(void)
{
	/* Each CPU has changes of its own that it has not told yet. */
	write_file("/proc/sys/vm/stat_refresh", "1");
	return vm_counter("nr_isolated_anon") + vm_counter("nr_isolated_file");
}

/* After all others. */
TEST_F_TIMEOUT(afterwards, no_page_is_lost, TIMEOUT)
{
	ASSERT_TRUE(make_group());
	EXPECT_TRUE(group_is_empty());
	EXPECT_EQ(isolated(), 0);
	EXPECT_EQ(rmdir(GROUP), 0);
	EXPECT_EQ(umount2(CGROUPS, 0), 0);
}

/* What must have wanted memory in vain; who called it, the cases show. */
TEST_F(afterwards, each_place_was_met)
{
	static const char *const places[] = {
		/* of the driver: the request, its page table, pages on their way */
		"ioctl::run", "leaf::Reserve", "Stock::contents::Contents",
		"Stock::fresh::SystemTarget",
		/* of mm, for what is missing */
		"do_swap_page < handle_mm_fault < migrate_vma_collect",
		"do_wp_page < handle_mm_fault < migrate_vma_collect",
		"do_pte_missing < handle_mm_fault < migrate_vma_collect",
		/* of mm, for what moves: the page table of a hole */
		"__migrate_device_pages",
	};

	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		EXPECT_TRUE(have_seen(places[i])) {
			TH_LOG("%s has not been without memory", places[i]);
		}
	}
}

TEST_HARNESS_MAIN
