/* SPDX-License-Identifier: GPL-2.0 */
/* Changes of the window at random, while requests are served. */
#ifndef DMIRROR_SELFTESTS_FUZZ_CHANGE_H
#define DMIRROR_SELFTESTS_FUZZ_CHANGE_H

#include <linux/mman.h>
#include <sys/wait.h>

#include "fuzz.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL	102
#define MADV_GUARD_REMOVE	103
#endif

#define FILE_PAGES	300	/* of the file that is mapped; the window is larger */

struct piece {
	char *mem;
	size_t size;
};

static inline struct piece any_piece(struct chance *chance)
{
	size_t pages = WINDOW_SIZE / PAGE, first = below(chance, pages), count;

	if (one_in(chance, 30)) {
		first -= first % HUGE_PAGES;
		count = HUGE_PAGES;
	} else {
		count = 1 + below(chance, one_in(chance, 8) ? 200 : 8);
	}
	if (count > pages - first)
		count = pages - first;
	return (struct piece){ WINDOW + first * PAGE, count * PAGE };
}

static inline int any_protection(struct chance *chance)
{
	static const int protections[] = {
		PROT_NONE, PROT_READ, PROT_READ, PROT_WRITE, PROT_EXEC,
		PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE,
	};

	return protections[below(chance, ARRAY_SIZE(protections))];
}

static inline void map_something(struct chance *chance, struct member *member, int file)
{
	struct piece piece = any_piece(chance);
	int how = MAP_FIXED | MAP_PRIVATE, from = -1;
	off_t offset = 0;

	switch (below(chance, 8)) {
	case 0:
		how = MAP_FIXED | (one_in(chance, 2) ? MAP_PRIVATE : MAP_SHARED);
		from = file;
		offset = below(chance, FILE_PAGES) * PAGE;
		break;
	case 1:
		how = MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS;
		break;
	case 2:
		from = member->files[below(chance, FILES)];
		break;
	case 3:
		piece.mem -= (uintptr_t)piece.mem % HUGE;
		piece.size = HUGE;
		how |= MAP_ANONYMOUS | MAP_HUGETLB | MAP_NORESERVE;
		break;
	default:
		how |= MAP_ANONYMOUS;
	}
	mmap(piece.mem, piece.size, any_protection(chance), how, from, offset);
}

static inline void advise(struct chance *chance)
{
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_PAGEOUT, MADV_COLD, MADV_WILLNEED,
		MADV_COLLAPSE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_MERGEABLE,
		MADV_UNMERGEABLE, MADV_POPULATE_READ, MADV_POPULATE_WRITE,
		MADV_POPULATE_WRITE, MADV_GUARD_INSTALL, MADV_GUARD_REMOVE, MADV_DONTFORK,
		MADV_DOFORK, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_REMOVE,
	};
	struct piece piece = any_piece(chance);

	madvise(piece.mem, piece.size, advice[below(chance, ARRAY_SIZE(advice))]);
}

static inline void move_piece(struct chance *chance)
{
	struct piece from = any_piece(chance), to = any_piece(chance);
	int how = MREMAP_MAYMOVE | MREMAP_FIXED;

	if (from.size > to.size)
		from.size = to.size;
	if (one_in(chance, 2))
		how |= MREMAP_DONTUNMAP;
	mremap(from.mem, from.size, from.size, how, to.mem);
}

static inline void fork_and_exit(void)
{
	pid_t child = fork();

	if (!child) {
		madvise(WINDOW, WINDOW_SIZE / 8, MADV_POPULATE_WRITE);
		_exit(0);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
}

/* Another open file takes the place of one of our own, which may be in use. */
static inline void reopen(struct chance *chance, struct member *member)
{
	int unit = below(chance, 2), fd = dev_open(unit);

	if (fd < 0)
		return;
	dup3(fd, member->files[below(chance, FILES_OF_OWN)], O_CLOEXEC);
	close(fd);
}

static inline void change_something(struct chance *chance, struct member *member, int file)
{
	struct piece piece = any_piece(chance);

	switch (below(chance, 16)) {
	case 0:
		munmap(piece.mem, piece.size);
		break;
	case 1 ... 5:
		map_something(chance, member, file);
		break;
	case 6 ... 7:
		mprotect(piece.mem, piece.size, any_protection(chance));
		break;
	case 8:
		move_piece(chance);
		break;
	case 9:
		if (one_in(chance, 2))
			mlock(piece.mem, piece.size);
		else
			munlock(piece.mem, piece.size);
		break;
	case 10:
		if (one_in(chance, 4))
			fork_and_exit();
		break;
	case 11:
		reopen(chance, member);
		break;
	default:
		advise(chance);
	}
	__atomic_fetch_add(&member->shared->changes, 1, __ATOMIC_RELAXED);
}

#endif
