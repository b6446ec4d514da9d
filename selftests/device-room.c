// SPDX-License-Identifier: GPL-2.0
/*
 * device-room UNIT NPAGES: asks the device for room for that many pages, and
 * prints how many it took. Those that found none must have stayed where they
 * were, and all be intact; and the room must be there again once the pages have
 * come home.
 */
#include <err.h>

#include "lib.h"

#define SEED	1000

/* How many pages the device takes, when it is asked for all of them. */
static size_t taken(int fd, char *mem, size_t npages, char *buf, unsigned char *map)
{
	long done = dev_take(fd, mem, npages, buf);
	size_t count = 0;

	if (done != (long)npages && done != -ENOENT)
		errx(1, "MIGRATE_TO_DEV: %s", strerror(-done));
	if (dev_snapshot(fd, mem, npages, map) != (long)npages)
		errx(1, "SNAPSHOT fails");
	for (size_t i = 0; i < npages; i++) {
		if (map[i] == AT_DEVICE)
			count++;
		else if (map[i] != AT_SYSTEM)
			errx(1, "page %zu is at %#x", i, map[i]);
	}
	return count;
}

int main(int argc, char **argv)
{
	size_t npages = argc == 3 ? strtoul(argv[2], NULL, 10) : 0, room, again;
	unsigned char *where = malloc(npages);
	char *mem, *buf;
	int fd;

	if (!npages || !where)
		errx(1, "usage: device-room UNIT NPAGES");
	fd = dev_open(strtoul(argv[1], NULL, 10));
	mem = map_pages(npages);
	buf = map_pages(npages);
	if (fd < 0 || mem == MAP_FAILED || buf == MAP_FAILED)
		err(1, "cannot begin");
	fill(mem, npages, SEED);
	room = taken(fd, mem, npages, buf, where);
	if (!holds(buf, room, SEED))
		errx(1, "the device has other data");
	if (!holds(mem, npages, SEED))
		errx(1, "data are lost");
	again = taken(fd, mem, npages, buf, where);
	if (again != room)
		errx(1, "%zu pages, the second time %zu", room, again);
	printf("%zu\n", room);
	return 0;
}
