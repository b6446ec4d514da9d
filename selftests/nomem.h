/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory that runs out at the Nth allocation of a thread, and at which place in the
 * kernel that was. And what is left of a process that was in a control group, when it
 * has gone: nothing.
 *
 * Needs fault injection, probes and control groups: the strict kernel has them.
 */
#ifndef DMIRROR_SELFTESTS_NOMEM_H
#define DMIRROR_SELFTESTS_NOMEM_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "chance.h"
#include "onewalk.h"
#include "probes.h"

#define INJECTION	"/sys/kernel/debug/"
#define TRACE		TRACING "instances/nomem/"
#define CGROUPS		"/tmp/nomem-cgroups/"
#define GROUP		CGROUPS "nomem/"
#define MOST_SITES	64

/* --- To let an allocation fail --------------------------------------------------------- */

/* The defaults spare all allocations that may wait, and single pages. */
static inline const char *allow_injection(void)
{
	static const struct {
		const char *path, *value;
	} settings[] = {
		{ INJECTION "failslab/ignore-gfp-wait", "N" },
		{ INJECTION "failslab/verbose", "0" },
		{ INJECTION "fail_page_alloc/ignore-gfp-wait", "N" },
		{ INJECTION "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ INJECTION "fail_page_alloc/min-order", "0" },
		{ INJECTION "fail_page_alloc/verbose", "0" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(settings); i++) {
		if (access(settings[i].path, W_OK) ||
		    !write_file(settings[i].path, settings[i].value))
			return settings[i].path;
	}
	return NULL;
}

static inline int open_fail_nth(void)
{
	return open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

/* A device keeps some memory for the next pages, until a file of it is closed. */
static inline bool forget_kept(void)
{
	return !close(dev_open(0));
}

/* From now on, allocation number @nth of this thread fails; 0 is for none. */
static inline bool fail_at(int fail_nth, unsigned int nth)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", nth);

	return pwrite(fail_nth, text, len, 0) == len;
}

/* Has it come to that? No more fail. */
static inline bool has_failed(int fail_nth)
{
	char left[16] = "";
	bool failed = pread(fail_nth, left, sizeof(left) - 1, 0) > 0 && !atoi(left);

	return fail_at(fail_nth, 0) && failed;
}

/* --- To see where ------------------------------------------------------------------------ */

/* Places in the kernel that wanted memory and got none. */
struct sites {
	size_t count;
	struct site {
		unsigned int times;
		char stack[600];	/* functions, the innermost first */
	} site[MOST_SITES];
};

/* Of the failures of this process. */
static inline bool begin_tracing(void)
{
	return have_probes() &&
	       place_probes(TRACE, "r:nomem/fails should_fail_ex ret=$retval:u8") &&
	       watch_this_process(TRACE "set_event_pid") &&
	       write_file(TRACE "options/stacktrace", "1") &&
	       write_file(TRACE "events/nomem/fails/filter", "ret == 1") &&
	       write_file(TRACE "events/nomem/enable", "1") && clear_trace(TRACE "trace") &&
	       write_file(TRACE "tracing_on", "1");
}

static inline void end_tracing(void)
{
	write_file(TRACE "tracing_on", "0");
}

/*
 * A function of the driver as its source calls it: what is behind the name of the
 * crate in a mangled name, which must not be all.
 */
static inline bool is_of_driver(const char *function, char *name, size_t size)
{
	const char *at = strstr(function, "7dmirror");
	size_t used = 0, len;

	*name = 0;
	if (!at)
		return false;
	for (at += strlen("7dmirror"); *at && used < size; at += len) {
		char *end;

		len = 1;
		/* References back, and numbers of what has no name. */
		if (*at == 'B' || *at == 's')
			len += strcspn(at, "_");
		if (*at < '1' || *at > '9')
			continue;
		len = strtoul(at, &end, 10);
		at = end + (*end == '_');
		used += snprintf(name + used, size - used, "%s%.*s", used ? "::" : "", (int)len,
				 at);
	}
	return used;
}

/* What says nothing about the place: the probe, the allocators, kmemleak. */
static inline bool is_uninteresting(const char *function)
{
	static const char *const names[] = {
		"should_fail", "arch_rethook", "__alloc_", "alloc_", "folio_alloc", "__folio_alloc",
		"vma_alloc_folio", "kmem_cache_alloc", "__kmalloc", "___kmalloc", "kmalloc",
		"__kvmalloc", "krealloc", "kvrealloc", "vrealloc", "get_page_from_freelist",
		"new_slab", "allocate_slab", "prepare_alloc_pages", "refill_", "slab_", "__slab",
		"___slab", "__create_object", "___alloc", "__pcs", "_RNv", "_RI",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (!strncmp(function, names[i], strlen(names[i])))
			return true;
	return false;
}

/* The stack of the last failure, from what wanted the memory to the driver. */
static inline bool read_stack(char *stack, size_t size)
{
	FILE *trace = fopen(TRACE "trace", "re");
	bool of_driver = false;
	char line[512], name[100];

	*stack = 0;
	while (trace && fgets(line, sizeof(line), trace) && !of_driver) {
		char *function = strstr(line, " => ");
		size_t used = strlen(stack);

		if (!function)
			continue;
		function += 4;
		*strpbrk(function, "+\n") = 0;
		of_driver = is_of_driver(function, name, sizeof(name));
		if (of_driver || !is_uninteresting(function))
			snprintf(stack + used, size - used, "%s%s", used ? " < " : "",
				 of_driver ? name : function);
	}
	if (trace)
		fclose(trace);
	return *stack;
}

static inline bool note_site(struct sites *sites)
{
	char stack[sizeof(sites->site[0].stack)];
	size_t i;

	if (!read_stack(stack, sizeof(stack)) || !clear_trace(TRACE "trace"))
		return false;
	for (i = 0; i < sites->count; i++)
		if (!strcmp(sites->site[i].stack, stack))
			break;
	if (i == MOST_SITES)
		return false;
	if (i == sites->count) {
		sites->count++;
		strcpy(sites->site[i].stack, stack);
	}
	sites->site[i].times++;
	return true;
}

/* All places that cases of this program have seen. */
static inline const char *sites_path(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/tmp/%s-sites", program_invocation_short_name);
	return path;
}

/* Shows them, and keeps them for the end of all. */
static inline bool show_sites(const struct sites *sites)
{
	FILE *file = fopen(sites_path(), "ae");

	for (size_t i = 0; i < sites->count; i++) {
		printf("# %u times: %s\n", sites->site[i].times, sites->site[i].stack);
		if (file)
			fprintf(file, "%s\n", sites->site[i].stack);
	}
	return file && !fclose(file);
}

static inline bool have_seen(const char *function)
{
	FILE *file = fopen(sites_path(), "re");
	char line[700];
	bool seen = false;

	while (file && !seen && fgets(line, sizeof(line), file))
		seen = strstr(line, function);
	if (file)
		fclose(file);
	return seen;
}

/* --- To see what is left -------------------------------------------------------------------- */

static inline bool make_group(void)
{
	mkdir(CGROUPS, 0755);
	return (!mount("none", CGROUPS, "cgroup2", 0, NULL) || errno == EBUSY) &&
	       write_file(CGROUPS "cgroup.subtree_control", "+memory") &&
	       (!mkdir(GROUP, 0755) || errno == EEXIST);
}

static inline pid_t fork_into_group(void)
{
	pid_t child = fork();

	if (!child && !write_file(GROUP "cgroup.procs", "0"))
		_exit(1);
	return child;
}

/* How a process ends that does nothing but @act in the group; -1 if there is none. */
static inline int status_in_group(void (*act)(void))
{
	pid_t child = fork_into_group();
	int status = -1;

	if (!child)
		act();
	return child > 0 && waitpid(child, &status, 0) == child ? status : -1;
}

/*
 * Pages of system memory that are charged to the group; shows the first of them. The
 * group's own count is of no use: it has charges in stock, and those for slab objects
 * that RCU or the allocator keep, and what is known of these lags behind by seconds.
 */
static inline size_t pages_charged(void)
{
	static uint64_t groups[HUGE_PAGES];
	int fd = open("/proc/kpagecgroup", O_RDONLY | O_CLOEXEC);
	size_t frame = 0, found = 0;
	struct stat group;
	ssize_t size;

	if (fd < 0 || stat(GROUP, &group))
		return SIZE_MAX;
	while ((size = read(fd, groups, sizeof(groups))) > 0) {
		for (size_t i = 0; i < size / sizeof(*groups); i++, frame++)
			if (groups[i] == group.st_ino && found++ < 5)
				printf("# frame %#zx is charged still\n", frame);
	}
	close(fd);
	return frame ? found : SIZE_MAX;
}

/*
 * Does the group become empty, if no process is in it? Pages may be on their way to the
 * LRU, which compaction ends; in the swap cache, from where the limit drives them out;
 * or wait for RCU.
 */
static inline bool group_is_empty(void)
{
	size_t charged = 1;

	for (int tries = 0; charged && tries < 5; tries++) {
		write_file("/proc/sys/vm/compact_memory", "1");
		write_file(GROUP "memory.max", "0");
		sleep_for_ms(100);
		charged = pages_charged();
	}
	return !charged;
}

#endif
