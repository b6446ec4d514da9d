// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once, for as long as one likes: several processes with several
 * threads, of which some change what their pages hold, and others move those pages
 * between system memory, devices and swap, share them, merge them, and look at them.
 * stress.h tells how it is known what a page must hold. Now and then a process is
 * killed.
 *
 * A run is made of rounds, each with as many processes and threads as its seed says.
 * DMIRROR_SEED=N begins with that round, though nothing repeats exactly with threads.
 */
#include <kselftest_harness.h>

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "stress-child.h"
#include "stress-own.h"

#define FAST_SECONDS	20
#define STRICT_SECONDS	60
#define ROUND_MS	5000
#define MOST_SECONDS	3600
#define ENDS_WITHIN_MS	120000
#define LONG_RUN	100000	/* pages written, after which everything must have come about */
#define KSM		"/sys/kernel/mm/ksm/"

/* --- A process ------------------------------------------------------------------------- */

struct thread {
	struct world *world;
	unsigned int number;	/* among the owners, and behind them the movers */
	pthread_t thread;
};

static void *own(void *arg)
{
	struct thread *thread = arg;
	struct world *world = thread->world;
	const char **doing = &world->tally->doing[world->slot][thread->number];
	struct owner owner = {
		.world = world,
		.chance = branch(world->seed, thread->number),
		.number = thread->number,
		.scratch = SCRATCH + thread->number * HUGE,
		.landing = LANDING + thread->number * HUGE,
		.buf = map_pages(GROUP),
	};

	while (goes_on(world->tally)) {
		const struct act *act = choose(&owner.chance, owner_acts,
						ARRAY_SIZE(owner_acts));

		choose_pages(&owner);
		*doing = act->name;
		if (!act->own(&owner))
			fail(world, act->name);
	}
	/* All that there is, once more. */
	*doing = "checks all";
	owner.count = GROUP;
	for (owner.page = 0; owner.page < PAGES; owner.page += GROUP) {
		owner.mem = address_of(owner.page);
		owner.fd = world->files[owner.page / GROUP % FILES];
		if (owner_of(world, owner.page) != owner.number || world->tally->failed)
			continue;
		if (!check_by_device(&owner, owner.mem) || !check_by_cpu(&owner, owner.mem))
			fail(world, "at the end");
	}
	*doing = NULL;
	return NULL;
}

static void *move(void *arg)
{
	struct thread *thread = arg;
	struct world *world = thread->world;
	const char **doing = &world->tally->doing[world->slot][thread->number];
	struct mover mover = {
		.world = world,
		.chance = branch(world->seed, thread->number),
		.buf = map_pages(HUGE_PAGES),
	};

	if (pipe2(mover.pipe, O_CLOEXEC))
		fail(world, "no pipe");
	while (goes_on(world->tally)) {
		const struct act *act = choose(&mover.chance, mover_acts,
						ARRAY_SIZE(mover_acts));

		choose_range(&mover);
		*doing = act->name;
		if (!act->move(&mover))
			fail(world, act->name);
	}
	*doing = NULL;
	return NULL;
}

static bool open_userfaultfd(struct world *world)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MOVE | UFFD_FEATURE_SIGBUS,
	};
	struct uffdio_register landing = {
		.range = { (uintptr_t)LANDING, MOST_THREADS * HUGE },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};

	world->uffd = syscall(__NR_userfaultfd, O_CLOEXEC);
	return mmap(LANDING, MOST_THREADS * HUGE, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == LANDING &&
	       !ioctl(world->uffd, UFFDIO_API, &api) &&
	       !ioctl(world->uffd, UFFDIO_REGISTER, &landing);
}

static bool open_files(struct world *world)
{
	struct hmm_dmirror_cmd flags = { .npages = HMM_DMIRROR_FLAG_MIGRATE_ON_FAULT };

	for (int i = 0; i < FILES; i++) {
		/* Not every guest has coherent memory. */
		world->files[i] = i == ON_COHERENT ? dev_open(2) : -1;
		if (world->files[i] < 0)
			world->files[i] = dev_open(i >= ON_1);
		if (world->files[i] < 0)
			return false;
	}
	/* The C driver has no such flag. */
	ioctl(world->files[ON_0_MIGRATING], HMM_DMIRROR_FLAGS, &flags);
	return true;
}

static bool set_up(struct world *world)
{
	world->known = mmap(NULL, PAGES * sizeof(*world->known), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	world->memory = memfd_create("stress", MFD_CLOEXEC);
	if (world->known == MAP_FAILED || ftruncate(world->memory, 256 * PAGE))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(blocks); i++)
		if (!map_of_block(world, &blocks[i], blocks[i].first, blocks[i].count))
			return false;
	return open_files(world) && open_userfaultfd(world);
}

/* Does not return. */
static void live(struct tally *tally, unsigned int slot, unsigned int id, uint64_t seed)
{
	static struct world world;
	struct thread threads[MOST_THREADS];
	struct chance chance = branch(seed, MOST_THREADS);
	unsigned int count;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	catch_faults();
	world.tally = tally;
	world.seed = seed;
	world.slot = slot;
	world.id = id;
	world.owners = 1 + below(&chance, 4);
	world.movers = 1 + below(&chance, 4);
	count = world.owners + world.movers;
	if (!set_up(&world)) {
		fail(&world, "cannot begin");
		_exit(1);
	}
	for (unsigned int i = 0; i < count; i++) {
		threads[i].world = &world;
		threads[i].number = i;
		if (pthread_create(&threads[i].thread, NULL, i < world.owners ? own : move,
				   &threads[i]))
			fail(&world, "no thread");
	}
	for (unsigned int i = 0; i < count; i++)
		pthread_join(threads[i].thread, NULL);
	_exit(tally->failed);
}

/* --- A round ---------------------------------------------------------------------------- */

struct round {
	struct tally *tally;
	struct chance chance;
	unsigned int processes;
	pid_t pids[MOST_PROCESSES];
};

/* Numbers of processes, so that the pages of one that has died are known as foreign. */
static unsigned int next_id;

static bool begin_process(struct round *round, unsigned int slot)
{
	unsigned int id = 1 + next_id++ % (OF_CHILD - 1);
	uint64_t seed = any(&round->chance);

	round->pids[slot] = fork();
	if (!round->pids[slot])
		live(round->tally, slot, id, seed);
	return round->pids[slot] > 0;
}

static void show_doing(const struct round *round, unsigned int slot)
{
	say("process %d does not end", round->pids[slot]);
	for (unsigned int i = 0; i < MOST_THREADS; i++)
		if (round->tally->doing[slot][i])
			say("... thread %u %s", i, round->tally->doing[slot][i]);
}

/* Waits for the end of a process, which none may find by itself. */
static bool end_process(struct round *round, unsigned int slot, int signal)
{
	uint64_t end = clock_ms() + ENDS_WITHIN_MS;
	int status = 0;

	while (!waitpid(round->pids[slot], &status, WNOHANG)) {
		if (clock_ms() > end) {
			show_doing(round, slot);
			return false;
		}
		sleep_for_ms(5);
	}
	memset(round->tally->doing[slot], 0, sizeof(round->tally->doing[slot]));
	if (!status || (signal && WIFSIGNALED(status) && WTERMSIG(status) == signal))
		return true;
	say("a process ended with status %#x", status);
	return false;
}

static bool kill_one(struct round *round)
{
	unsigned int slot = below(&round->chance, round->processes);

	kill(round->pids[slot], SIGKILL);
	round->tally->counts[KILLED]++;
	return end_process(round, slot, SIGKILL) && begin_process(round, slot);
}

static bool run_round(struct tally *tally, uint64_t seed)
{
	struct round round = { .tally = tally, .chance = branch(seed, 0) };
	unsigned int slow = is_strict() ? 2 : 1;
	uint64_t end = clock_ms() + ROUND_MS * slow;
	bool ok = true;

	tally->over = false;
	round.processes = 1 + below(&round.chance, MOST_PROCESSES);
	/* In some rounds all processes together may not keep half of their memory. */
	tell(GROUP_DIR "memory.high", one_in(&round.chance, 3) ? "24M" : "max");
	for (unsigned int slot = 0; slot < round.processes; slot++)
		ok = begin_process(&round, slot) && ok;
	while (ok && goes_on(tally) && clock_ms() < end) {
		sleep_for_ms(slow * (200 + below(&round.chance, 2000)));
		if (goes_on(tally))
			ok = kill_one(&round);
	}
	tally->over = true;
	for (unsigned int slot = 0; slot < round.processes; slot++)
		ok = end_process(&round, slot, 0) && ok;
	return ok && !tally->failed && devices_are_empty();
}

/* --- The run ------------------------------------------------------------------------------ */

FIXTURE(stress)
{
	struct tally *tally;
	bool control_group;
};

FIXTURE_SETUP(stress)
{
	self->tally = mmap(NULL, sizeof(*self->tally), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(self->tally, MAP_FAILED);
	/* The fast kernel has no control groups. */
	mkdir(CGROUPS, 0755);
	self->control_group = !mount("none", CGROUPS, "cgroup2", 0, NULL) &&
			      tell(CGROUPS "cgroup.subtree_control", "+memory") &&
			      !mkdir(GROUP_DIR, 0755) && tell(GROUP_DIR "cgroup.procs", "0");
	ASSERT_TRUE(tell(KSM "pages_to_scan", "1000"));
	ASSERT_TRUE(tell(KSM "sleep_millisecs", "20"));
	ASSERT_TRUE(tell(KSM "run", "1"));
}

FIXTURE_TEARDOWN(stress)
{
	EXPECT_TRUE(tell(KSM "run", "2"));
	if (self->control_group) {
		EXPECT_TRUE(tell(CGROUPS "cgroup.procs", "0"));
		EXPECT_EQ(rmdir(GROUP_DIR), 0);
	}
	umount2(CGROUPS, MNT_DETACH);
}

TEST_F_TIMEOUT(stress, oracle, MOST_SECONDS)
{
	unsigned int seconds = seconds_of_race(is_strict() ? STRICT_SECONDS : FAST_SECONDS);
	uint64_t end = clock_ms() + 1000 * seconds, seed = first_seed();
	struct tally *tally = self->tally;
	unsigned int rounds = 0;
	bool ok;

	do {
		ok = run_round(tally, seed + rounds);
		if (!ok)
			TH_LOG("failed with DMIRROR_SEED=%llu", (unsigned long long)seed + rounds);
		rounds++;
	} while (ok && clock_ms() < end);
	TH_LOG("%u rounds from DMIRROR_SEED=%llu on", rounds, (unsigned long long)seed);
	show_tally(tally);
	EXPECT_TRUE(ok);
	if (tally->counts[CPU_WRITES] + tally->counts[DEVICE_WRITES] < LONG_RUN)
		return;
	for (size_t i = 0; i <= LAST_REQUIRED; i++) {
		EXPECT_GT(tally->counts[i], 0) {
			TH_LOG("no %s", count_names[i]);
		}
	}
}

TEST_HARNESS_MAIN
