/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A child of a process under stress. It has what there was when it was made, and
 * nobody but itself can change that; and it has the files of its parent, through
 * which it sees what the parent has now.
 */
#ifndef DMIRROR_SELFTESTS_STRESS_CHILD_H
#define DMIRROR_SELFTESTS_STRESS_CHILD_H

#include <sys/prctl.h>
#include <sys/wait.h>

#include "stress-move.h"

/* Other words in pages of its own: the parent must never see them. */
static inline bool overwrite(struct mover *mover)
{
	struct world *world = mover->world;
	uint64_t *mine = mover->buf + WORDS;

	for (size_t i = 0; i < mover->glance.count && i < GROUP; i++) {
		size_t page = mover->glance.first + i;
		char *mem = address_of(page);
		long ret;

		write_page(mine, world->id | OF_CHILD, page, 1);
		if (one_in(&mover->chance, 2)) {
			ret = dev_write(mover->fd, mem, 1, mine);
		} else {
			bool written = copy_by_cpu((uint64_t *)mem, mine, WORDS);

			ret = written ? 1 : -EFAULT;
		}
		if (ret == 1)
			ret = dev_read(mover->fd, mem, 1, mover->buf);
		if (ret != 1) {
			if (!excused(mover, -ret, 0))
				return mover_failed(mover, "a child's write", -ret);
		} else if (memcmp(mover->buf, mine, PAGE)) {
			return mover_failed(mover, "what a child wrote", 0);
		}
	}
	return true;
}

static inline bool live_as_child(struct mover *mover)
{
	int parents = mover->fd;
	bool ok;

	mover->fd = dev_open(below(&mover->chance, 2));
	if (mover->fd < 0)
		return mover_failed(mover, "a child's open", errno);
	switch (below(&mover->chance, 3)) {
	case 0:
		ok = look_by_cpu(mover) && take(mover);
		break;
	case 1:
		ok = take(mover) && look_by_cpu(mover);
		break;
	default:
		ok = fault_to_device(mover) && look_by_device(mover) && look_by_cpu(mover);
	}
	if (ok && !block_of(mover->glance.first)->shared)
		ok = overwrite(mover);
	mover->fd = parents;
	mover->orphaned = true;
	return ok && look_by_device(mover);
}

static inline bool have_child(struct mover *mover)
{
	bool kills = one_in(&mover->chance, 3);
	unsigned int after = below(&mover->chance, 30);
	int status = 0;
	pid_t child = fork();

	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		any(&mover->chance);
		_exit(!live_as_child(mover));
	}
	if (child < 0)
		/* The memory control group may be full at this moment. */
		return errno == ENOMEM || mover_failed(mover, "fork", errno);
	if (kills) {
		sleep_for_ms(after);
		kill(child, SIGKILL);
		count(mover->world, CHILDREN_KILLED, 1);
	}
	waitpid(child, &status, 0);
	count(mover->world, FORKED, 1);
	if (!status || (kills && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL))
		return true;
	say("a child ended with status %#x", status);
	return mover_failed(mover, "a child", 0);
}

static const struct act mover_acts[] = {
	{ "takes", 6, .move = take },
	{ "fetches", 4, .move = fetch },
	{ "faults", 6, .move = fault_to_device },
	{ "reads by device", 6, .move = look_by_device },
	{ "reads by CPU", 6, .move = look_by_cpu },
	{ "makes exclusive", 4, .move = make_exclusive },
	{ "takes a snapshot", 2, .move = snapshot },
	{ "pages out", 3, .move = page_out },
	{ "collapses", 2, .move = collapse },
	{ "uses a pipe", 2, .move = pipe_through },
	{ "opens and closes", 2, .move = open_and_close },
	{ "has a child", 1, .move = have_child },
	{ "lets a huge page fail", 2, .move = fail_huge_page },
	{ "releases", 1, .move = release },
	{ "reclaims", 1, .move = reclaim_some },
	{ "compacts", 1, .move = compact },
};

#endif
