// SPDX-License-Identifier: GPL-2.0
/*
 * See helpers.h. The kernel's own Rust helpers are merged into each crate as
 * bitcode when CONFIG_RUST_INLINE_HELPERS is on; the list of those files is
 * fixed, so ours are ordinary functions.
 */
#include <linux/gfp.h>
#include <linux/highmem.h>
#include <linux/hmm.h>
#include <linux/huge_mm.h>
#include <linux/memcontrol.h>
#include <linux/memremap.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/mmu_notifier.h>
#include <linux/mutex.h>
#include <linux/oom.h>
#include <linux/pagemap.h>
#include <linux/pgtable.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/userfaultfd_k.h>

#include "helpers.h"

void dmirror_shim_interval_set_seq(struct mmu_interval_notifier *sub,
				   unsigned long seq)
{
	mmu_interval_set_seq(sub, seq);
}

bool dmirror_shim_interval_read_retry(struct mmu_interval_notifier *sub,
				      unsigned long seq)
{
	return mmu_interval_read_retry(sub, seq);
}

#ifdef DMIRROR_ONE_WALK
int dmirror_shim_hmm_range_collect(struct hmm_range *range,
				   struct migrate_vma *migrate, bool *locked)
{
	range->default_flags |= HMM_PFN_REQ_MIGRATE;
	range->migrate = migrate;
	return hmm_range_fault_locked(range, locked);
}

void dmirror_shim_migrate_hmm_range_setup(struct hmm_range *range)
{
	migrate_hmm_range_setup(range);
}

unsigned long dmirror_shim_migrate_faults(const struct migrate_vma *migrate)
{
	return migrate->faults;
}
#else
/* A kernel without the series in patches/: nothing is ever collected. */
int dmirror_shim_hmm_range_collect(struct hmm_range *range,
				   struct migrate_vma *migrate, bool *locked)
{
	return -EOPNOTSUPP;
}

void dmirror_shim_migrate_hmm_range_setup(struct hmm_range *range)
{
}

unsigned long dmirror_shim_migrate_faults(const struct migrate_vma *migrate)
{
	return 0;
}
#endif

#ifdef DMIRROR_TYPED_ENTRIES
void dmirror_shim_migrate_device_range(unsigned long *src,
				       const struct dev_pagemap *pgmap,
				       unsigned long first, unsigned long npages)
{
	migrate_device_range(src, pgmap_page(pgmap, first), npages);
}
#else
/*
 * A kernel without the second series in patches/: pages of private memory are
 * named like others, by their page frame numbers.
 */
static struct page *pgmap_page(const struct dev_pagemap *pgmap,
			       unsigned long index)
{
	return pfn_to_page(PHYS_PFN(pgmap->range.start) + index);
}

static unsigned long device_private_page_to_offset(const struct page *page)
{
	return page_to_pfn(page);
}

static struct page *device_private_offset_to_page(unsigned long offset)
{
	return pfn_to_page(offset);
}

static unsigned long migrate_pfn_from_page(const struct page *page)
{
	return migrate_pfn(page_to_pfn(page));
}

void dmirror_shim_migrate_device_range(unsigned long *src,
				       const struct dev_pagemap *pgmap,
				       unsigned long first, unsigned long npages)
{
	migrate_device_range(src, PHYS_PFN(pgmap->range.start) + first, npages);
}
#endif

struct page *dmirror_shim_migrate_pfn_to_page(unsigned long mpfn)
{
	return migrate_pfn_to_page(mpfn);
}

unsigned long dmirror_shim_migrate_pfn(const struct page *page)
{
	return migrate_pfn_from_page(page);
}

unsigned long dmirror_shim_device_offset(const struct page *page)
{
	return device_private_page_to_offset(page);
}

/* The offset of a page that need not be there yet. */
unsigned long dmirror_shim_device_offset_at(u64 start)
{
	return device_private_page_to_offset(pfn_to_page(PHYS_PFN(start)));
}

struct page *dmirror_shim_pagemap_page(const struct dev_pagemap *pgmap,
				       unsigned long index)
{
	return pgmap_page(pgmap, index);
}

struct page *dmirror_shim_pfn_to_page(unsigned long pfn)
{
	return pfn_to_page(pfn);
}

unsigned long dmirror_shim_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

struct dev_pagemap *dmirror_shim_page_pgmap(const struct page *page)
{
	return page_pgmap(page);
}

/*
 * Pages of memfd_secret() are taken out of the direct map, and HMM hands them
 * out all the same. They are never anonymous, which spares the common case the
 * look-up.
 */
static noinline bool is_in_direct_map(struct page *page)
{
#ifdef CONFIG_X86
	unsigned int level;
	pte_t *pte = lookup_address((unsigned long)page_address(page), &level);

	return pte && (pte_val(*pte) & _PAGE_PRESENT);
#else
	return !IS_ENABLED(CONFIG_SECRETMEM);
#endif
}

static __always_inline enum dmirror_frame_kind page_kind(struct page *page)
{
	if (is_zone_device_page(page)) {
		if (page_pgmap(page)->type == MEMORY_DEVICE_PRIVATE)
			return DMIRROR_FRAME_PRIVATE;
		if (page_pgmap(page)->type == MEMORY_DEVICE_COHERENT)
			return DMIRROR_FRAME_COHERENT;
	}
	if (folio_test_anon(page_folio(page)))
		return DMIRROR_FRAME_ANONYMOUS;
	if (is_zero_pfn(page_to_pfn(page)))
		return DMIRROR_FRAME_ZEROES;
	return is_in_direct_map(page) ? DMIRROR_FRAME_OTHER :
					DMIRROR_FRAME_UNREACHABLE;
}

enum dmirror_frame_kind dmirror_shim_page_kind(struct page *page)
{
	return page_kind(page);
}

static struct page *answered_page(unsigned long answer)
{
	return pfn_to_page(answer & ~HMM_PFN_FLAGS);
}

/* Apart, to spare a single page what a loop needs. */
static noinline unsigned int count_anonymous(const unsigned long *answers,
					     unsigned int count)
{
	unsigned int alike;

	for (alike = 1; alike < count; alike++) {
		if ((answers[alike] ^ answers[0]) & HMM_PFN_FLAGS ||
		    page_kind(answered_page(answers[alike])) != DMIRROR_FRAME_ANONYMOUS)
			break;
	}
	return alike;
}

/* Those alike, in their flags too, are counted only of anonymous memory. */
struct dmirror_frames dmirror_shim_frames(const unsigned long *answers,
					  unsigned int count)
{
	struct dmirror_frames frames = {
		.kind = page_kind(answered_page(answers[0])),
		.alike = 1,
	};

	if (count > 1 && frames.kind == DMIRROR_FRAME_ANONYMOUS)
		frames.alike = count_anonymous(answers, count);
	return frames;
}

/* NULL if the source of a migration is not a page of private memory. */
struct dev_pagemap *dmirror_shim_source_pgmap(unsigned long src)
{
	struct page *page = migrate_pfn_to_page(src);

	return page && is_device_private_page(page) ? page_pgmap(page) : NULL;
}

/*
 * How many sources of a migration, from the first one on, are small pages of
 * anonymous memory, or nothing, and take part.
 */
unsigned int dmirror_shim_count_small_sources(const unsigned long *src,
					      unsigned int count)
{
	unsigned int found;

	for (found = 0; found < count; found++) {
		const unsigned long entry = src[found];
		struct page *page = migrate_pfn_to_page(entry);

		if ((entry & (MIGRATE_PFN_MIGRATE | MIGRATE_PFN_COMPOUND)) !=
		    MIGRATE_PFN_MIGRATE)
			break;
		if (page && page_kind(page) != DMIRROR_FRAME_ANONYMOUS)
			break;
	}
	return found;
}

/* Whether all pages that a huge mapping of this one maps are of the same kind. */
bool dmirror_shim_frame_is_uniform(unsigned long pfn)
{
	struct page *page = pfn_to_page(pfn);

	return is_device_private_page(page) || folio_test_anon(page_folio(page));
}

struct dev_pagemap *dmirror_shim_frame_pgmap(const unsigned long *answer)
{
	return page_pgmap(answered_page(*answer));
}

struct dev_pagemap *dmirror_shim_offset_pgmap(unsigned long offset)
{
	return page_pgmap(device_private_offset_to_page(offset));
}

unsigned int dmirror_shim_page_order(struct page *page)
{
	return folio_order(page_folio(page));
}

void dmirror_shim_device_folio_init(struct page *page, struct dev_pagemap *pgmap,
				    unsigned int order)
{
	zone_device_folio_init((struct folio *)page, pgmap, order);
}

/* Small pages one behind the other. Returns the first. */
struct page *dmirror_shim_device_pages_init(struct dev_pagemap *pgmap,
					    unsigned long index,
					    unsigned long count)
{
	struct page *page = pgmap_page(pgmap, index);

	BUILD_BUG_ON(!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP));
	for (; count; count--)
		zone_device_folio_init((struct folio *)(page + count - 1), pgmap, 0);
	return page;
}

/*
 * Free pages stay compound until they are put to use again, and when only some
 * are, as small pages, migrate_device_range() takes the first one's word for the
 * others. Returns the pagemap, and the order that the folio had.
 */
struct dev_pagemap *dmirror_shim_device_folio_dissolve(struct folio *folio,
						       unsigned int *order)
{
	*order = folio_order(folio);
	if (*order) {
		folio_clear_large_rmappable(folio);
		ClearPageHead(folio_page(folio, 0));
	}
	return folio->pgmap;
}

unsigned long dmirror_shim_alloc_kernel_pages(unsigned long count,
					      struct page **pages)
{
	return alloc_pages_bulk(GFP_KERNEL_ACCOUNT | __GFP_NOWARN, count, pages);
}

/* Kernel memory that the root group allocates is charged to nobody. */
bool dmirror_shim_page_may_be_reused(struct page *page)
{
	if (PageHWPoison(page))
		return false;
#ifdef CONFIG_MEMCG
	if (memcg_kmem_online()) {
		struct mem_cgroup *group, *own;

		guard(rcu)();
		group = folio_memcg(page_folio(page));
		own = mem_cgroup_from_task(current);
		return group ? group == own : !own || mem_cgroup_is_root(own);
	}
#endif
	return true;
}

/* Of the same node as bulk, and only if it is at hand. Not compound: may be cut. */
struct page *dmirror_shim_alloc_kernel_piece(unsigned int order)
{
	const gfp_t gfp = GFP_KERNEL_ACCOUNT | __GFP_NOWARN | __GFP_NOMEMALLOC;

	return alloc_pages_node(numa_mem_id(), gfp & ~__GFP_RECLAIM, order);
}

/* What the allocator keeps lists of for each processor. */
#define SPLIT_ORDER	PAGE_ALLOC_COSTLY_ORDER

/*
 * What is at hand on this node, which bulk does not leave, either: it costs little
 * more than a single page.
 */
static unsigned long alloc_and_split(gfp_t gfp, unsigned long count,
				     struct page **pages)
{
	const unsigned long size = 1 << SPLIT_ORDER;
	unsigned long i, got;

	gfp |= __GFP_NOMEMALLOC | __GFP_THISNODE;
	for (got = 0; got + size <= count; got += size) {
		struct page *page = alloc_pages(gfp & ~__GFP_DIRECT_RECLAIM,
						SPLIT_ORDER);

		if (!page)
			break;
		split_page(page, SPLIT_ORDER);
		for (i = 0; i < size; i++)
			pages[got + i] = page + i;
	}
	return got;
}

/*
 * Those and bulk ignore the memory policy of the process: with one, a page at a
 * time.
 */
unsigned long dmirror_shim_alloc_movable_pages(unsigned long count,
					       struct page **pages, bool wait)
{
	gfp_t gfp = GFP_HIGHUSER_MOVABLE | __GFP_NOWARN;
	unsigned long got;

	if (!wait)
		gfp = (gfp | __GFP_NOMEMALLOC) & ~__GFP_RECLAIM;
#ifdef CONFIG_NUMA
	if (current->mempolicy) {
		pages[0] = alloc_page(gfp);
		return !!pages[0];
	}
#endif
	got = alloc_and_split(gfp, count, pages);
	return got ?: alloc_pages_bulk(gfp, count, pages);
}

struct page *dmirror_shim_alloc_huge_page(unsigned int order, bool wait)
{
	struct folio *folio = folio_alloc(wait ? GFP_TRANSHUGE | __GFP_NORETRY :
						 GFP_TRANSHUGE_LIGHT, order);

	return folio ? &folio->page : NULL;
}

void dmirror_shim_lock_page(struct page *page)
{
	lock_page(page);
}

/*
 * For a new page of system memory, which nobody else can have locked. Returns what
 * names it as the target of a migration.
 */
unsigned long dmirror_shim_lock_target(struct page *page)
{
	__folio_set_locked(page_folio(page));
	return migrate_pfn(page_to_pfn(page));
}

void dmirror_shim_unlock_page(struct page *page)
{
	unlock_page(page);
}

void dmirror_shim_put_page(struct page *page)
{
	put_page(page);
}

/* Only a VMA with an anon_vma can hold anonymous, hence device, pages. */
bool dmirror_shim_vma_has_anon(const struct vm_area_struct *vma)
{
	return !!READ_ONCE(vma->anon_vma);
}

bool dmirror_shim_vma_is_random(const struct vm_area_struct *vma)
{
	return vma->vm_flags & VM_RAND_READ;
}

bool dmirror_shim_vma_uffd_rwp(struct vm_area_struct *vma)
{
	return userfaultfd_rwp(vma);
}

/*
 * The first address in [addr, end), the start of it or of a PMD, at which there is
 * something below the PMD or in it; end if there is none. Called with the mmap lock
 * held, which keeps page tables in place but for those of PTEs.
 */
unsigned long dmirror_shim_first_populated(struct mm_struct *mm,
					   unsigned long addr,
					   unsigned long end)
{
	while (addr < end) {
		pgd_t *pgd = pgd_offset(mm, addr);
		p4d_t *p4d;
		pud_t *pudp, pud;

		if (pgd_none(pgdp_get(pgd))) {
			addr = pgd_addr_end(addr, end);
			continue;
		}
		p4d = p4d_offset(pgd, addr);
		if (p4d_none(p4dp_get(p4d))) {
			addr = p4d_addr_end(addr, end);
			continue;
		}
		pudp = pud_offset(p4d, addr);
		/* Read once: a huge page may go meanwhile. */
		pud = pudp_get(pudp);
		if (pud_none(pud)) {
			addr = pud_addr_end(addr, end);
			continue;
		}
		if (pud_leaf(pud) ||
		    !pmd_none(pmdp_get_lockless(pmd_offset_lockless(pudp, pud, addr))))
			break;
		addr = pmd_addr_end(addr, end);
	}
	return addr;
}

bool dmirror_shim_vma_thp_disabled(struct vm_area_struct *vma)
{
	return vma_thp_disabled(vma, vma->vm_flags, false);
}

int dmirror_shim_mmap_read_lock_killable(struct mm_struct *mm)
{
	return mmap_read_lock_killable(mm);
}

void dmirror_shim_mmap_read_unlock(struct mm_struct *mm)
{
	mmap_read_unlock(mm);
}

int dmirror_shim_mutex_lock_killable(struct mutex *lock)
{
	return mutex_lock_killable(lock);
}

bool dmirror_shim_mm_is_stable(struct mm_struct *mm)
{
	return !check_stable_address_space(mm);
}

bool dmirror_shim_fatal_signal_pending(void)
{
	return fatal_signal_pending(current);
}

void dmirror_shim_copy_page(struct page *to, struct page *from)
{
	copy_highpage(to, from);
}

/* Never inlined, so that profiles know what it costs. */
noinline void dmirror_shim_clear_page(struct page *page)
{
	clear_highpage(page);
}

/* What a source of a migration holds: zeroes where there is nothing. */
static void copy_source(struct page *to, unsigned long src)
{
	struct page *from = migrate_pfn_to_page(src);

	if (from)
		copy_highpage(to, from);
	else
		dmirror_shim_clear_page(to);
}

/* To pages that may be anywhere. */
void dmirror_shim_copy_sources(struct page **to, const unsigned long *src,
			       unsigned long count)
{
	for (; count; count--)
		copy_source(*to++, *src++);
}

/* To pages whose frame numbers follow each other. */
void dmirror_shim_copy_sources_to(struct page *to, const unsigned long *src,
				  unsigned long count)
{
	BUILD_BUG_ON(!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP));
	for (; count; count--)
		copy_source(to++, *src++);
}

/* Apart, to spare a single page what a loop needs. */
static noinline void copy_pages(struct page *to, struct page *from,
				unsigned long count)
{
	for (; count; count--)
		copy_highpage(to++, from++);
}

/* Pages whose frame numbers follow each other. */
void dmirror_shim_copy_pages(struct page *to, struct page *from,
			     unsigned long count)
{
	BUILD_BUG_ON(!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP));
	if (count == 1)
		copy_highpage(to, from);
	else
		copy_pages(to, from, count);
}

/*
 * To a part of a new page of system memory, which is not to be dropped as clean: it
 * has no mapping as yet that would want to know.
 */
void dmirror_shim_copy_to_target(struct page *to, struct page *from,
				 unsigned long count)
{
	dmirror_shim_copy_pages(to, from, count);
	SetPageDirty(to);
}

void dmirror_shim_clear_pages(struct page *page, unsigned long count)
{
	BUILD_BUG_ON(!IS_ENABLED(CONFIG_SPARSEMEM_VMEMMAP));
	for (; count; count--)
		clear_highpage(page++);
}

/*
 * Kernel memory in one piece: how many pages have been copied as a whole. Near the
 * end of what can be accessed, and of user addresses, a single page is tried.
 */
unsigned long dmirror_shim_copy_pages_to_user(void __user *to,
					      struct page *from,
					      unsigned long count)
{
	unsigned long size = count << PAGE_SHIFT, copied = 0;
	void *addr = page_address(from);

	pagefault_disable();
	if (access_ok(to, size))
		copied = size - __copy_to_user_inatomic(to, addr, size);
	if (copied < PAGE_SIZE && count > 1 && access_ok(to, PAGE_SIZE))
		copied = PAGE_SIZE - __copy_to_user_inatomic(to, addr, PAGE_SIZE);
	pagefault_enable();
	return copied >> PAGE_SHIFT;
}

unsigned long dmirror_shim_copy_pages_from_user(struct page *to,
						const void __user *from,
						unsigned long count)
{
	unsigned long size = count << PAGE_SHIFT, copied = 0;
	void *addr = page_address(to);

	pagefault_disable();
	if (access_ok(from, size))
		copied = size - __copy_from_user_inatomic(addr, from, size);
	if (copied < PAGE_SIZE && count > 1 && access_ok(from, PAGE_SIZE))
		copied = PAGE_SIZE - __copy_from_user_inatomic(addr, from, PAGE_SIZE);
	pagefault_enable();
	return copied >> PAGE_SHIFT;
}

/*
 * The pages at these physical addresses, in the lowest bits of which anything may
 * be, up to the first that cannot be copied as a whole.
 */
unsigned long dmirror_shim_copy_frames_to_user(void __user *to,
					       const u64 *frames,
					       unsigned long count)
{
	unsigned long done, left;

	pagefault_disable();
	for (done = 0; done < count; done++, to += PAGE_SIZE) {
		void *from;

		if (!access_ok(to, PAGE_SIZE))
			break;
		from = kmap_local_pfn(PHYS_PFN(frames[done]));
		left = __copy_to_user_inatomic(to, from, PAGE_SIZE);
		kunmap_local(from);
		if (left)
			break;
	}
	pagefault_enable();
	return done;
}

unsigned long dmirror_shim_copy_frames_from_user(const u64 *frames,
						 const void __user *from,
						 unsigned long count)
{
	unsigned long done, left;

	pagefault_disable();
	for (done = 0; done < count; done++, from += PAGE_SIZE) {
		struct page *page = pfn_to_page(PHYS_PFN(frames[done]));
		void *to;

		if (!access_ok(from, PAGE_SIZE))
			break;
		to = kmap_local_page(page);
		left = __copy_from_user_inatomic(to, from, PAGE_SIZE);
		kunmap_local(to);
		/* Also if only a part of it has been written. */
		set_page_dirty(page);
		if (left)
			break;
	}
	pagefault_enable();
	return done;
}
