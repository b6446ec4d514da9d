/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Static inlines and macros of the kernel's headers, as functions that Rust can
 * call. Only what the kernel crate does not offer.
 */
#ifndef DMIRROR_HELPERS_H
#define DMIRROR_HELPERS_H

#include <linux/types.h>

struct dev_pagemap;
struct hmm_range;
struct migrate_vma;
struct mm_struct;
struct mmu_interval_notifier;
struct mmu_notifier_range;
struct mutex;
struct page;
struct vm_area_struct;

/* What kind of memory a frame is. */
enum dmirror_frame_kind {
	DMIRROR_FRAME_ANONYMOUS,	/* system memory */
	DMIRROR_FRAME_ZEROES,		/* the shared page of zeroes */
	DMIRROR_FRAME_OTHER,		/* other memory in the direct map */
	DMIRROR_FRAME_PRIVATE,		/* device memory */
	DMIRROR_FRAME_COHERENT,		/* device memory, too */
	DMIRROR_FRAME_UNREACHABLE,	/* not in the direct map */
};

/* Of some frames, the kind of the first, and how many from there on are like it. */
struct dmirror_frames {
	enum dmirror_frame_kind kind;
	unsigned int alike;
};

/* linux/mmu_notifier.h */
void dmirror_shim_interval_set_seq(struct mmu_interval_notifier *sub,
				   unsigned long seq);
bool dmirror_shim_interval_read_retry(struct mmu_interval_notifier *sub,
				      unsigned long seq);

/* linux/hmm.h, linux/migrate.h: what patches/ adds */
int dmirror_shim_hmm_range_collect(struct hmm_range *range,
				   struct migrate_vma *migrate, bool *locked);
void dmirror_shim_migrate_hmm_range_setup(struct hmm_range *range);
unsigned long dmirror_shim_migrate_faults(const struct migrate_vma *migrate);

/* linux/migrate.h, linux/memremap.h: how pages are named */
struct page *dmirror_shim_migrate_pfn_to_page(unsigned long mpfn);
unsigned long dmirror_shim_migrate_pfn(const struct page *page);
unsigned long dmirror_shim_device_offset(const struct page *page);
unsigned long dmirror_shim_device_offset_at(u64 start);
struct page *dmirror_shim_pagemap_page(const struct dev_pagemap *pgmap,
				       unsigned long index);
void dmirror_shim_migrate_device_range(unsigned long *src,
				       const struct dev_pagemap *pgmap,
				       unsigned long first, unsigned long npages);

/* linux/mm.h, linux/memremap.h */
struct page *dmirror_shim_pfn_to_page(unsigned long pfn);
unsigned long dmirror_shim_page_to_pfn(const struct page *page);
struct dev_pagemap *dmirror_shim_page_pgmap(const struct page *page);
enum dmirror_frame_kind dmirror_shim_page_kind(struct page *page);
struct dmirror_frames dmirror_shim_frames(const unsigned long *answers,
					  unsigned int count);
struct dev_pagemap *dmirror_shim_source_pgmap(unsigned long src);
unsigned int dmirror_shim_count_small_sources(const unsigned long *src,
					      unsigned int count);
bool dmirror_shim_frame_is_uniform(unsigned long pfn);
struct dev_pagemap *dmirror_shim_frame_pgmap(const unsigned long *answer);
struct dev_pagemap *dmirror_shim_offset_pgmap(unsigned long offset);
unsigned int dmirror_shim_page_order(struct page *page);
void dmirror_shim_device_folio_init(struct page *page, struct dev_pagemap *pgmap,
				    unsigned int order);
struct page *dmirror_shim_device_pages_init(struct dev_pagemap *pgmap,
					    unsigned long index,
					    unsigned long count);
struct dev_pagemap *dmirror_shim_device_folio_dissolve(struct folio *folio,
						       unsigned int *order);
unsigned long dmirror_shim_alloc_kernel_pages(unsigned long count,
					      struct page **pages);
bool dmirror_shim_page_may_be_reused(struct page *page);
unsigned long dmirror_shim_alloc_movable_pages(unsigned long count,
					       struct page **pages, bool wait);
struct page *dmirror_shim_alloc_kernel_piece(unsigned int order);
struct page *dmirror_shim_alloc_huge_page(unsigned int order, bool wait);
void dmirror_shim_lock_page(struct page *page);
unsigned long dmirror_shim_lock_target(struct page *page);
void dmirror_shim_unlock_page(struct page *page);
void dmirror_shim_put_page(struct page *page);
bool dmirror_shim_vma_has_anon(const struct vm_area_struct *vma);
bool dmirror_shim_vma_is_random(const struct vm_area_struct *vma);
bool dmirror_shim_vma_uffd_rwp(struct vm_area_struct *vma);
unsigned long dmirror_shim_first_populated(struct mm_struct *mm,
					   unsigned long addr,
					   unsigned long end);

/* linux/huge_mm.h */
bool dmirror_shim_vma_thp_disabled(struct vm_area_struct *vma);

/* linux/mmap_lock.h */
int dmirror_shim_mmap_read_lock_killable(struct mm_struct *mm);
void dmirror_shim_mmap_read_unlock(struct mm_struct *mm);

/* linux/mutex.h */
int dmirror_shim_mutex_lock_killable(struct mutex *lock);

/* linux/oom.h */
bool dmirror_shim_mm_is_stable(struct mm_struct *mm);

/* linux/sched/signal.h */
bool dmirror_shim_fatal_signal_pending(void);

/* linux/highmem.h, linux/uaccess.h */
void dmirror_shim_copy_page(struct page *to, struct page *from);
void dmirror_shim_clear_page(struct page *page);
void dmirror_shim_copy_sources(struct page **to, const unsigned long *src,
			       unsigned long count);
void dmirror_shim_copy_sources_to(struct page *to, const unsigned long *src,
				  unsigned long count);
void dmirror_shim_copy_to_target(struct page *to, struct page *from,
				 unsigned long count);
void dmirror_shim_copy_pages(struct page *to, struct page *from,
			     unsigned long count);
void dmirror_shim_clear_pages(struct page *page, unsigned long count);
unsigned long dmirror_shim_copy_pages_to_user(void __user *to,
					      struct page *from,
					      unsigned long count);
unsigned long dmirror_shim_copy_pages_from_user(struct page *to,
						const void __user *from,
						unsigned long count);
unsigned long dmirror_shim_copy_frames_to_user(void __user *to,
					       const u64 *frames,
					       unsigned long count);
unsigned long dmirror_shim_copy_frames_from_user(const u64 *frames,
						 const void __user *from,
						 unsigned long count);

#endif /* DMIRROR_HELPERS_H */
