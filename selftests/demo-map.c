// SPDX-License-Identifier: GPL-2.0
/*
 * Draws where each page lives, as one SNAPSHOT of the device saw it.
 */
#include <stdio.h>

#include <lib/test_hmm_uapi.h>

#include "demo.h"

#define COLUMNS	64

enum place { SYSTEM, HUGE, DEVICE, DEVICE_HUGE, ZERO, HOLE, OTHER, PLACES };

static const struct {
	const char *name;
	char letter;
	int color;	/* of the terminal's 256 */
} places[PLACES] = {
	[SYSTEM] = { "system", 'S', 71 },
	[HUGE] = { "huge", 'H', 65 },
	[DEVICE] = { "device", 'D', 208 },
	[DEVICE_HUGE] = { "huge there", 'G', 202 },
	[ZERO] = { "zero", '0', 67 },
	[HOLE] = { "hole", '.', 238 },
	[OTHER] = { "mixed", '?', 160 },
};

static enum place place_of(unsigned char byte)
{
	unsigned char kind = byte & 0xf0;

	if (byte == HMM_DMIRROR_PROT_NONE)
		return HOLE;
	if (kind == HMM_DMIRROR_PROT_ZERO)
		return ZERO;
	if (kind == HMM_DMIRROR_PROT_DEV_PRIVATE_LOCAL)
		return byte & HMM_DMIRROR_PROT_PMD ? DEVICE_HUGE : DEVICE;
	if (kind)
		return OTHER;
	return byte & HMM_DMIRROR_PROT_PMD ? HUGE : SYSTEM;
}

/* A block is drawn as what all its pages are. */
static enum place place_of_block(const unsigned char *snapshot, size_t npages)
{
	enum place place = place_of(snapshot[0]);

	for (size_t i = 1; i < npages; i++) {
		if (place_of(snapshot[i]) != place)
			return OTHER;
	}
	return place;
}

static void paint(enum place place, bool color)
{
	if (color)
		printf("\033[38;5;%dm\u2587\033[0m", places[place].color);
	else
		putchar(places[place].letter);
}

void map_legend(bool color)
{
	printf("  %-9s", "");
	for (enum place place = 0; place < PLACES; place++) {
		printf("   ");
		paint(place, color);
		printf(" %s", places[place].name);
	}
	printf("\n\n");
}

static void draw_region(const struct region *region, const unsigned char *snapshot,
			size_t pages_per_character, bool color)
{
	const char *name = region->name;

	for (size_t i = 0; i < region->npages; i += pages_per_character) {
		if (i % (COLUMNS * pages_per_character) == 0) {
			printf("%s  %-12s", i ? "\n" : "", name);
			name = "";
		}
		paint(place_of_block(snapshot + region->first + i, pages_per_character), color);
	}
	putchar('\n');
}

void map_draw(const struct region *regions, size_t nregions, const unsigned char *snapshot,
	      size_t pages_per_character, bool color)
{
	size_t counts[PLACES] = { 0 };

	for (size_t r = 0; r < nregions; r++) {
		draw_region(&regions[r], snapshot, pages_per_character, color);
		for (size_t i = 0; i < regions[r].npages; i++)
			counts[place_of(snapshot[regions[r].first + i])]++;
	}

	printf("  %-9s", "pages");
	for (enum place place = 0; place < PLACES; place++) {
		if (place != OTHER || counts[OTHER])
			printf("   %s %4zu", places[place].name, counts[place]);
	}
	printf("\n\n");
}
