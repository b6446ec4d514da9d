// SPDX-License-Identifier: GPL-2.0
/*
 * Requests at random, most of them nonsense, to files of one's own, of one's mother
 * and of nobody, from several threads and processes, which are killed now and then,
 * while the address space changes. Each answer must be a documented one; no process
 * may lose data or die by itself; and in the end all is as it was.
 *
 * DMIRROR_SEED=N sends the same requests again, though not at the same moments.
 */
#include <kselftest_harness.h>

#include <signal.h>

#include "fuzz-call.h"
#include "fuzz-change.h"

#define SECONDS		5
#define STRESS_CALLS	100000	/* at least, if told how long to go on */
#define MANY_CALLS	10000	/* among which each error occurs */
#define MOST_SECONDS	3600
#define DIES_WITHIN_MS	20000
#define KEPT		64	/* pages of the keeper, the second half on a device */
#define SEED_OF_KEPT	99000

struct caller {
	struct member *member;
	struct chance chance;
	struct hmm_dmirror_cmd *slot;
};

static bool goes_on(struct shared *shared)
{
	return !__atomic_load_n(&shared->over, __ATOMIC_ACQUIRE) &&
	       !__atomic_load_n(&shared->failed, __ATOMIC_ACQUIRE);
}

static void fail(struct member *member)
{
	say("... in a process with the seed %#llx", (unsigned long long)member->seed);
	__atomic_store_n(&member->shared->failed, true, __ATOMIC_RELEASE);
}

static void *call_at_random(void *arg)
{
	struct caller *caller = arg;

	while (goes_on(caller->member->shared)) {
		struct call call = any_call(&caller->chance, caller->member, caller->slot);

		if (!send_call(caller->member, &call))
			fail(caller->member);
	}
	return NULL;
}

/* A process: its callers, and itself as the changer. Does not return. */
static void live(struct member *member)
{
	struct chance chance = branch(member->seed, 0);
	struct caller callers[CALLERS];
	pthread_t threads[CALLERS];
	int file = memfd_create("fuzz", MFD_CLOEXEC);

	if (ftruncate(file, FILE_PAGES * PAGE))
		fail(member);
	for (size_t i = 0; i < CALLERS; i++) {
		/* Some arguments lie across the boundary of two pages. */
		callers[i] = (struct caller){
			.member = member,
			.chance = branch(member->seed, 1 + i),
			.slot = (void *)(SLOTS + (i + 1) * PAGE - i * 16),
		};
		if (pthread_create(&threads[i], NULL, call_at_random, &callers[i]))
			fail(member);
	}
	while (goes_on(member->shared)) {
		change_something(&chance, member, file);
		sleep_for_ms(below(&chance, 30));
		if (one_in(&chance, 100) &&
		    !guarded_are_right(one_in(&chance, 2) ? member->files[0] : -1))
			fail(member);
	}
	for (size_t i = 0; i < CALLERS; i++)
		pthread_join(threads[i], NULL);
	if (!guarded_are_right(-1))
		fail(member);
	/* Her death would be that of her children. */
	while (wait(NULL) > 0)
		;
	_exit(0);
}

static bool open_own(struct member *member)
{
	for (int i = 0; i < FILES_OF_OWN; i++) {
		/* Device 2 is there if the guest has coherent memory for it. */
		member->files[i] = dev_open(i);
		if (member->files[i] < 0)
			member->files[i] = dev_open(i % 2);
		if (member->files[i] < 0)
			return false;
	}
	return true;
}

/* A mother with her children. Does not return. */
static void live_with_children(struct shared *shared, uint64_t seed, int orphan)
{
	struct member member = { .shared = shared, .seed = seed };

	if (!set_up_member(&member) || !open_own(&member))
		_exit(1);
	fill(GUARDED, GUARDED_PAGES, SEED_OF_GUARDED);
	member.files[FILES_OF_OWN] = dup(member.files[0]);
	member.files[FILES_OF_OWN + 1] = dup(member.files[1]);
	member.files[FILES - 1] = orphan;
	member.opener_may_go[FILES - 1] = true;
	for (int i = 1; i < MEMBERS; i++) {
		pid_t child = fork();

		if (child < 0)
			_exit(1);
		if (child)
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int own = 0; own < FILES_OF_OWN; own++)
			close(member.files[own]);
		member.opener_may_go[FILES_OF_OWN] = true;
		member.opener_may_go[FILES_OF_OWN + 1] = true;
		member.seed = seed + i;
		if (!open_own(&member))
			_exit(1);
		live(&member);
	}
	live(&member);
}

static pid_t begin_family(struct shared *shared, uint64_t seed, int orphan)
{
	pid_t mother = fork();

	if (!mother) {
		setpgid(0, 0);
		live_with_children(shared, seed, orphan);
	}
	if (mother > 0)
		setpgid(mother, mother);
	return mother;
}

/* Waits for a family, of which none may have died but by our hand. */
static bool bury(pid_t family, bool killed)
{
	uint64_t end = clock_ms() + DIES_WITHIN_MS;
	int status = 0;
	pid_t pid;

	while ((pid = waitpid(-family, &status, WNOHANG)) >= 0) {
		bool by_us = killed && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;

		if (pid && status && !by_us) {
			say("a process ended with status %#x", status);
			return false;
		}
		if (!pid && clock_ms() > end) {
			say("a process does not die within %d ms", DIES_WITHIN_MS);
			return false;
		}
		if (!pid)
			sleep_for_ms(5);
	}
	return true;
}

/* A file whose opener is no more. */
static int open_orphan(void)
{
	int opener_has[2], fd = -1;
	pid_t opener;

	if (pipe2(opener_has, O_CLOEXEC))
		return -1;
	opener = fork();
	if (!opener) {
		fd = dev_open(0);
		if (write(opener_has[1], &fd, sizeof(fd)) == sizeof(fd))
			pause();
		_exit(1);
	}
	if (read(opener_has[0], &fd, sizeof(fd)) == sizeof(fd)) {
		int pidfd = syscall(__NR_pidfd_open, opener, 0);

		fd = syscall(__NR_pidfd_getfd, pidfd, fd, 0);
		close(pidfd);
	}
	kill(opener, SIGKILL);
	waitpid(opener, NULL, 0);
	close(opener_has[0]);
	close(opener_has[1]);
	return fd;
}

FIXTURE(fuzz)
{
	struct shared *shared;
	uint64_t seed;
	char *kept;
	int fd;
};

FIXTURE_SETUP(fuzz)
{
	self->seed = first_seed();
	self->shared = mmap(NULL, sizeof(*self->shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->shared, MAP_FAILED);
	ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->kept = map_pages(KEPT);
	ASSERT_NE(self->kept, MAP_FAILED);
	ASSERT_EQ(madvise(self->kept, KEPT * PAGE, MADV_DONTFORK), 0);
	fill(self->kept, KEPT, SEED_OF_KEPT);
	ASSERT_EQ(dev_take(self->fd, self->kept + KEPT / 2 * PAGE, KEPT / 2, scratch), KEPT / 2);
}

FIXTURE_TEARDOWN(fuzz)
{
	ASSERT_EQ(close(self->fd), 0);
}

static void show(const struct shared *shared, unsigned int killed)
{
	say("%lu requests, %lu of them served, %lu changes, %u families killed", shared->calls,
	    shared->served, shared->changes, killed);
	for (size_t i = 0; i < ARRAY_SIZE(shared->errors); i++)
		if (shared->errors[i])
			say("%8lu %s", shared->errors[i], strerrorname_np(i));
}

TEST_F_TIMEOUT(fuzz, any_request, MOST_SECONDS)
{
	static const int must_occur[] = { EFAULT, EINVAL, EPERM, ENOENT, ENOTTY, ESRCH };
	uint64_t end = clock_ms() + 1000 * seconds_of_race(SECONDS);
	unsigned long enough = getenv("DMIRROR_SECONDS") ? STRESS_CALLS : 0;
	struct chance chance = branch(self->seed, 0);
	struct shared *shared = self->shared;
	unsigned int begun = 0, killed = 0;
	pid_t families[FAMILIES];
	int orphan = open_orphan();
	bool ok = true;

	ASSERT_GE(orphan, 0);
	for (int i = 0; i < FAMILIES; i++)
		families[i] = begin_family(shared, any(&chance), orphan);
	while (ok && goes_on(shared) && (clock_ms() < end || shared->calls < enough)) {
		pid_t *family = &families[begun++ % FAMILIES];

		sleep_for_ms((300 + below(&chance, 1200)) * (is_strict() ? 4 : 1));
		kill(-*family, SIGKILL);
		ok = bury(*family, true);
		killed++;
		*family = begin_family(shared, any(&chance), orphan);
	}
	__atomic_store_n(&shared->over, true, __ATOMIC_RELEASE);
	for (int i = 0; i < FAMILIES; i++)
		ok = bury(families[i], false) && ok;
	show(shared, killed);
	EXPECT_TRUE(ok);
	EXPECT_FALSE(shared->failed);
	for (size_t i = 0; shared->calls > MANY_CALLS && i < ARRAY_SIZE(must_occur); i++)
		EXPECT_GT(shared->errors[must_occur[i]], 0);
	EXPECT_GT(shared->served, shared->calls / 50);
	if (_metadata->exit_code != KSFT_PASS)
		TH_LOG("failed with DMIRROR_SEED=%llu", (unsigned long long)self->seed);

	/* What is not theirs they have not touched, and of what was nothing is left. */
	EXPECT_TRUE(all_at(self->fd, self->kept, KEPT / 2, AT_SYSTEM));
	EXPECT_TRUE(all_at(self->fd, self->kept + KEPT / 2 * PAGE, KEPT / 2, AT_DEVICE));
	EXPECT_TRUE(holds(self->kept, KEPT, SEED_OF_KEPT));
	EXPECT_TRUE(devices_are_empty());
	EXPECT_EQ(close(orphan), 0);
}

TEST_HARNESS_MAIN
