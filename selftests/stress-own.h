/* SPDX-License-Identifier: GPL-2.0 */
/* What an owner does with its pages: all that changes what they hold. */
#ifndef DMIRROR_SELFTESTS_STRESS_OWN_H
#define DMIRROR_SELFTESTS_STRESS_OWN_H

#include <linux/userfaultfd.h>

#include "stress-tally.h"

/* A thread, and those of its pages that it has to do with just now. */
struct owner {
	struct world *world;
	struct chance chance;
	unsigned int number;
	size_t page, count;	/* next to each other, GROUP at most */
	char *mem;		/* where they are, */
	size_t size;
	char *scratch, *landing;	/* and where they may be for a while */
	int fd;
	uint64_t *buf;		/* for as many */
};

static inline struct known *known_of(const struct owner *owner, size_t i)
{
	return &owner->world->known[owner->page + i];
}

static inline struct held *held_of(const struct owner *owner, size_t i)
{
	return &owner->world->held[owner->page + i];
}

static inline bool owner_failed(struct owner *owner, const char *what, long ret)
{
	say("%s of %zu pages from %s page %zu on: %ld, %s", what, owner->count,
	    block_of(owner->page)->name, owner->page, ret, strerror(errno));
	fail(owner->world, "with the owner's own pages");
	return false;
}

static inline void choose_pages(struct owner *owner)
{
	const struct block *block = &blocks[below(&owner->chance, ARRAY_SIZE(blocks))];
	/* As often in those where most others are, too. */
	size_t groups = one_in(&owner->chance, 4) ? block->count / GROUP : 8;

	do
		owner->page = block->first + below(&owner->chance, groups) * GROUP;
	while (owner_of(owner->world, owner->page) != owner->number);
	owner->count = GROUP;
	if (block->alike) {
		owner->page += 4 * below(&owner->chance, 2);
		owner->count = 4;
	} else if (one_in(&owner->chance, 2)) {
		size_t skip = below(&owner->chance, GROUP);

		owner->page += skip;
		owner->count = 1 + below(&owner->chance, GROUP - skip);
	}
	owner->mem = address_of(owner->page);
	owner->size = owner->count * PAGE;
	owner->fd = owner->world->files[below(&owner->chance, FILES)];
}

/* Tells all others: from now on there may be the next version, or zeroes. */
static inline uint64_t begin_change(struct owner *owner, bool zeroes)
{
	uint64_t version = 0;

	for (size_t i = 0; i < owner->count; i++)
		if (get(&known_of(owner, i)->begun) > version)
			version = get(&known_of(owner, i)->begun);
	version++;
	for (size_t i = 0; i < owner->count; i++) {
		set(&known_of(owner, i)->begun, version);
		if (zeroes)
			set(&known_of(owner, i)->zero_at, version);
	}
	return version;
}

/* ... and nothing older any more. The first @count pages hold @held now. */
static inline void end_change(struct owner *owner, size_t count, uint64_t version,
			      struct held held)
{
	for (size_t i = 0; i < count; i++) {
		*held_of(owner, i) = held;
		set(&known_of(owner, i)->done, version);
	}
}

static inline void begin_hole(struct owner *owner)
{
	for (size_t i = 0; i < owner->count; i++)
		__atomic_fetch_add(&known_of(owner, i)->hole_begun, 1, __ATOMIC_SEQ_CST);
}

static inline void end_hole(struct owner *owner)
{
	for (size_t i = 0; i < owner->count; i++)
		__atomic_fetch_add(&known_of(owner, i)->hole_done, 1, __ATOMIC_SEQ_CST);
}

/* --- To look ------------------------------------------------------------------------- */

static inline bool buffer_is_exact(struct owner *owner)
{
	for (size_t i = 0; i < owner->count; i++) {
		bool lazy = held_of(owner, i)->lazy;

		if (!is_exact(owner->world, owner->page + i, owner->buf + i * WORDS)) {
			fail(owner->world, "as the owner sees it");
			return false;
		}
		if (lazy && !held_of(owner, i)->lazy)
			count(owner->world, FOUND_FREED, 1);
	}
	return true;
}

static inline bool check_by_cpu(struct owner *owner, const char *mem)
{
	const volatile uint64_t *words = (const void *)mem;

	for (size_t i = 0; i < owner->count * WORDS; i++)
		owner->buf[i] = words[i];
	count(owner->world, CPU_LOOKS, owner->count);
	return buffer_is_exact(owner);
}

static inline bool check_by_device(struct owner *owner, const char *mem)
{
	long ret = dev_read(owner->fd, mem, owner->count, owner->buf);

	if (ret == -EBUSY) {
		count(owner->world, BUSY, 1);
		return true;
	}
	if (ret != (long)owner->count)
		return owner_failed(owner, "READ", ret);
	count(owner->world, DEVICE_LOOKS, owner->count);
	return buffer_is_exact(owner);
}

/* By either, or both: what each has in its tables must be right. */
static inline bool check_at(struct owner *owner, const char *mem)
{
	switch (below(&owner->chance, 3)) {
	case 0:
		return check_by_cpu(owner, mem);
	case 1:
		return check_by_device(owner, mem);
	default:
		return check_by_device(owner, mem) && check_by_cpu(owner, mem);
	}
}

static inline bool check(struct owner *owner)
{
	return check_at(owner, owner->mem);
}

/* --- To write ------------------------------------------------------------------------ */

static inline void write_pages(struct owner *owner, void *to, uint64_t version)
{
	uint64_t *words = to;

	for (size_t i = 0; i < owner->count; i++)
		write_page(words + i * WORDS, owner->world->id, owner->page + i, version);
}

static inline bool write_by_cpu(struct owner *owner)
{
	uint64_t version = begin_change(owner, false);

	write_pages(owner, owner->mem, version);
	end_change(owner, owner->count, version, (struct held){ version });
	count(owner->world, CPU_WRITES, owner->count);
	return true;
}

static inline bool write_by_device(struct owner *owner)
{
	struct hmm_dmirror_cmd cmd = {
		.addr = (uintptr_t)owner->mem,
		.ptr = (uintptr_t)owner->buf,
		.npages = owner->count,
	};
	uint64_t version = begin_change(owner, false);
	int error;

	write_pages(owner, owner->buf, version);
	error = ioctl(owner->fd, HMM_DMIRROR_WRITE, &cmd) ? errno : 0;
	if (error && error != EBUSY)
		return owner_failed(owner, "WRITE", -error);
	end_change(owner, cmd.cpages, version, (struct held){ version });
	count(owner->world, DEVICE_WRITES, cmd.cpages);
	if (!error)
		return true;
	/* The page behind may be written in part. */
	count(owner->world, BUSY, 1);
	return write_by_cpu(owner);
}

/* --- To lose ------------------------------------------------------------------------- */

static inline bool drop(struct owner *owner)
{
	int advice = block_of(owner->page)->shared ? MADV_REMOVE : MADV_DONTNEED;
	uint64_t version = begin_change(owner, true);

	if (madvise(owner->mem, owner->size, advice))
		return owner_failed(owner, "MADV_DONTNEED or MADV_REMOVE", -1);
	end_change(owner, owner->count, version, (struct held){ });
	count(owner->world, DROPPED, 1);
	return true;
}

/* Not at once, and not if the page is written before. */
static inline bool free_lazily(struct owner *owner)
{
	if (block_of(owner->page)->file)
		return drop(owner);
	begin_change(owner, true);
	if (madvise(owner->mem, owner->size, MADV_FREE))
		return owner_failed(owner, "MADV_FREE", -1);
	for (size_t i = 0; i < owner->count; i++)
		held_of(owner, i)->lazy = held_of(owner, i)->version;
	count(owner->world, LAZILY_FREED, 1);
	return true;
}

/* With a hole in between, or without. What is in a shared file stays there. */
static inline bool remap(struct owner *owner)
{
	const struct block *block = block_of(owner->page);
	bool hole = one_in(&owner->chance, 2), ok;
	uint64_t version = block->shared ? 0 : begin_change(owner, true);

	if (hole) {
		begin_hole(owner);
		munmap(owner->mem, owner->size);
	}
	ok = map_of_block(owner->world, block, owner->page, owner->count);
	if (hole)
		end_hole(owner);
	if (!ok)
		return owner_failed(owner, "mmap", -1);
	if (version)
		end_change(owner, owner->count, version, (struct held){ });
	count(owner->world, REMAPPED, 1);
	return true;
}

/* --- To move ------------------------------------------------------------------------- */

/* Page by page, as they need not be of one mapping. */
static inline bool move_pages_to(const struct owner *owner, char *from, char *to, int how)
{
	how |= MREMAP_MAYMOVE | MREMAP_FIXED;
	for (size_t at = 0; at < owner->size; at += PAGE)
		if (mremap(from + at, PAGE, PAGE, how, to + at) != to + at)
			return false;
	return true;
}

/* Elsewhere and back; others find a hole meanwhile, or zeroes. */
static inline bool move_away(struct owner *owner)
{
	bool hole = block_of(owner->page)->file || one_in(&owner->chance, 2), ok;

	if (hole)
		begin_hole(owner);
	else
		begin_change(owner, true);
	ok = move_pages_to(owner, owner->mem, owner->scratch, hole ? 0 : MREMAP_DONTUNMAP) &&
	     check_at(owner, owner->scratch) &&
	     move_pages_to(owner, owner->scratch, owner->mem, 0);
	if (hole)
		end_hole(owner);
	if (!ok)
		return owner_failed(owner, "mremap", -1);
	count(owner->world, MOVED, 1);
	/* A new version, after which there are no zeroes any more. */
	return hole || write_by_cpu(owner);
}

/* The pages that can move do; what arrives must be right, what is left behind is empty. */
static inline bool move_by_userfaultfd(struct owner *owner)
{
	struct uffdio_move move = {
		.dst = (uintptr_t)owner->landing,
		.src = (uintptr_t)owner->mem,
		.len = owner->size,
		.mode = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES,
	};
	const uint64_t *words = (const void *)owner->landing;
	uint64_t version;
	size_t moved;

	if (block_of(owner->page)->file || block_of(owner->page)->alike)
		return true;
	version = begin_change(owner, true);
	ioctl(owner->world->uffd, UFFDIO_MOVE, &move);
	moved = move.move > 0 ? move.move / PAGE : 0;
	for (size_t i = 0; i < moved; i++) {
		/* What held zeroes need not be there at all. */
		if (held_of(owner, i)->version && !held_of(owner, i)->lazy &&
		    !is_exact(owner->world, owner->page + i, words + i * WORDS))
			return owner_failed(owner, "UFFDIO_MOVE", moved);
	}
	end_change(owner, moved, version, (struct held){ });
	count(owner->world, MOVED_BY_USERFAULTFD, moved);
	return !madvise(owner->landing, GROUP * PAGE, MADV_DONTNEED);
}

/* --- To forbid ------------------------------------------------------------------------ */

/* The device must not write what is read-only, nor read what nobody may. */
static inline bool protect(struct owner *owner)
{
	long ret;
	bool ok;

	begin_hole(owner);
	ok = !mprotect(owner->mem, owner->size, PROT_READ);
	memset(owner->buf, 0xee, owner->size);
	ret = dev_write(owner->fd, owner->mem, owner->count, owner->buf);
	ok = ok && (ret == -EPERM || ret == -EBUSY) && check(owner);
	if (ok && one_in(&owner->chance, 2)) {
		ok = !mprotect(owner->mem, owner->size, PROT_NONE);
		ret = dev_read(owner->fd, owner->mem, owner->count, owner->buf);
		ok = ok && (ret == -EFAULT || ret == -EBUSY);
	}
	ok = !mprotect(owner->mem, owner->size, PROT_READ | PROT_WRITE) && ok;
	end_hole(owner);
	if (!ok)
		return owner_failed(owner, "a request for what is protected", ret);
	count(owner->world, PROTECTED, 1);
	return true;
}

static const struct act owner_acts[] = {
	{ "writes by CPU", 6, .own = write_by_cpu },
	{ "writes by device", 6, .own = write_by_device },
	{ "checks", 8, .own = check },
	{ "drops", 2, .own = drop },
	{ "frees lazily", 2, .own = free_lazily },
	{ "remaps", 2, .own = remap },
	{ "moves", 2, .own = move_away },
	{ "moves by userfaultfd", 2, .own = move_by_userfaultfd },
	{ "protects", 1, .own = protect },
};

#endif
