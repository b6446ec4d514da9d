/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Probes in the kernel, in groups. What one group meets can be seen in an instance of
 * tracing of its own.
 *
 * Once placed, they stay until the machine ends: 7.3 may die of an int3 that is nobody's
 * ("Oops: int3") if a probe is taken away, or made a jump, while processors run into it.
 */
#ifndef DMIRROR_SELFTESTS_PROBES_H
#define DMIRROR_SELFTESTS_PROBES_H

#include <sys/mount.h>
#include <sys/stat.h>

#include "onewalk.h"

#define TRACING		"/sys/kernel/tracing/"

static inline bool have_probes(void)
{
	return !access(TRACING, F_OK) && (!access(TRACING "kprobe_events", F_OK) ||
					  !mount("tracefs", TRACING, "tracefs", 0, NULL));
}

/* The group that @probes, one a line, name; @instance is the folder of the instance. */
static inline bool place_probes(const char *instance, const char *probes)
{
	if (!access(instance, F_OK))
		return true;
	return write_file("/proc/sys/debug/kprobes-optimization", "0") &&
	       write_file(TRACING "kprobe_events", probes) && !mkdir(instance, 0755);
}

/* @event_pids is the file of an instance that says whom it watches. */
static inline bool watch_this_process(const char *event_pids)
{
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", getpid());
	return write_file(event_pids, pid);
}

static inline bool clear_trace(const char *trace)
{
	int fd = open(trace, O_WRONLY | O_TRUNC | O_CLOEXEC);

	return fd >= 0 && !close(fd);
}

#endif
