/* SPDX-License-Identifier: GPL-2.0 */
#ifndef DMIRROR_SELFTESTS_DEMO_H
#define DMIRROR_SELFTESTS_DEMO_H

#include <stdbool.h>
#include <stddef.h>

/* A range of the demo's memory that began its life in one way. */
struct region {
	const char *name;
	size_t first;	/* page number */
	size_t npages;
};

void map_legend(bool color);
void map_draw(const struct region *regions, size_t nregions, const unsigned char *snapshot,
	      size_t pages_per_character, bool color);

#endif
