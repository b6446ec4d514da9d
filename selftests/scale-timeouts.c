// SPDX-License-Identifier: GPL-2.0
/*
 * Linked into hmm-tests-strict with --wrap=poll: the kselftest harness waits for
 * a test with poll(), and under emulation with KASAN its limits are too short
 * for a few tests that make steady progress.
 */
#include <poll.h>

#define SCALE	8

int __real_poll(struct pollfd *fds, nfds_t nfds, int timeout);
int __wrap_poll(struct pollfd *fds, nfds_t nfds, int timeout);

int __wrap_poll(struct pollfd *fds, nfds_t nfds, int timeout)
{
	return __real_poll(fds, nfds, timeout > 0 ? timeout * SCALE : timeout);
}
