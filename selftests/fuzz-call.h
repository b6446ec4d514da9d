/* SPDX-License-Identifier: GPL-2.0 */
/* One request at random: what is in it, and whether the answer to it is documented. */
#ifndef DMIRROR_SELFTESTS_FUZZ_CALL_H
#define DMIRROR_SELFTESTS_FUZZ_CALL_H

#include "fuzz.h"

/* Errors that each request may answer; beside those, EINVAL to a range that is none. */
static const struct fuzz_request {
	unsigned int number;
	bool writes;		/* to its range */
	int errors[6];
} fuzz_requests[] = {
	{ HMM_DMIRROR_READ, .errors = { EFAULT, EBUSY } },
	{ HMM_DMIRROR_READ_UNLOCKED, .errors = { EFAULT, EBUSY } },
	{ HMM_DMIRROR_WRITE, true, .errors = { EFAULT, EBUSY, EPERM, EINVAL } },
	{ HMM_DMIRROR_MIGRATE_TO_DEV, .errors = { EFAULT, EBUSY, ENOENT, EINVAL } },
	{ HMM_DMIRROR_MIGRATE_TO_SYS, .errors = { EINVAL } },
	{ HMM_DMIRROR_SNAPSHOT, .errors = { EFAULT, EBUSY } },
	{ HMM_DMIRROR_EXCLUSIVE,
	  .errors = { EFAULT, EBUSY, EPERM, EINVAL, EOPNOTSUPP } },
	{ HMM_DMIRROR_CHECK_EXCLUSIVE, .errors = { EPERM } },
	{ HMM_DMIRROR_RELEASE },
	{ HMM_DMIRROR_FLAGS, .errors = { EINVAL } },
	{ HMM_DMIRROR_MIGRATE_ON_FAULT_TO_DEV, .errors = { EFAULT, EBUSY, EPERM, EINVAL } },
	{ HMM_DMIRROR_MIGRATE_ON_WRITE_FAULT_TO_DEV,
	  .errors = { EFAULT, EBUSY, EPERM, EINVAL } },
};

struct call {
	int file;				/* number in the member's files */
	unsigned int number;
	const struct fuzz_request *request;	/* NULL if the number is unknown */
	struct hmm_dmirror_cmd cmd;
	void *arg;				/* where that is, or should be */
	bool arg_is_good;
};

static inline uint64_t around(struct chance *chance, uint64_t address)
{
	return address + (below(chance, 9) - 4) * PAGE;
}

/* An address at which nothing can be written that anybody needs. */
static inline uint64_t harmless_address(struct chance *chance, struct member *member)
{
	switch (below(chance, 16)) {
	case 0:
		return below(chance, 4) * PAGE;
	case 1:
		return around(chance, (uintptr_t)member->vdso);
	case 2:
		return (uintptr_t)page_in(text_room);
	case 3:
		return around(chance, (1UL << 47) - 2 * PAGE);
	case 4:
		return any(chance) | 1ULL << 63;
	case 5:
		return -PAGE * below(chance, 4);
	case 6:
		return 0x40000000000UL + below(chance, 1 << 20) * PAGE;
	case 7:
		/* The edge of the window, and of a page table. */
		return around(chance, (uintptr_t)WINDOW + below(chance, 9) * HUGE);
	default:
		return (uintptr_t)WINDOW + below(chance, WINDOW_SIZE / PAGE) * PAGE;
	}
}

static inline uint64_t any_address(struct chance *chance, struct member *member)
{
	switch (below(chance, 12)) {
	case 0:
		return around(chance, (uintptr_t)member->stack);
	case 1:
		return around(chance, (uintptr_t)page_in(data_room));
	case 2:
		return (uintptr_t)GUARDED + below(chance, GUARDED_PAGES) * PAGE;
	case 3:
		return around(chance, (uintptr_t)SLOTS);
	case 4:
		return any(chance) & ~(PAGE - 1);
	default:
		return harmless_address(chance, member);
	}
}

static inline uint64_t any_size(struct chance *chance)
{
	static const uint64_t sizes[] = {
		0, 511, 512, 513, 1024, 1 << 20, 1ULL << 35, (1ULL << 35) - 1, 1ULL << 36,
		1ULL << 51, (1ULL << 52) - 1, 1ULL << 52, (1ULL << 52) + 1, 1ULL << 63, ~0ULL,
	};

	if (one_in(chance, 12))
		return sizes[below(chance, ARRAY_SIZE(sizes))];
	if (one_in(chance, 60))
		return any(chance);
	return 1 + below(chance, one_in(chance, 6) ? 300 : 16);
}

static inline unsigned int any_number(struct chance *chance, unsigned int known)
{
	switch (below(chance, 4)) {
	case 0:
		return any(chance);
	case 1:
		return known ^ 1U << below(chance, 32);
	case 2:
		return _IOWR('H', below(chance, 256), struct hmm_dmirror_cmd);
	default:
		return _IOC(below(chance, 4), 'H', _IOC_NR(known), below(chance, 64));
	}
}

static inline const struct fuzz_request *find_request(unsigned int number)
{
	for (size_t i = 0; i < ARRAY_SIZE(fuzz_requests); i++)
		if (fuzz_requests[i].number == number)
			return &fuzz_requests[i];
	return NULL;
}

/* @slot is where this thread may put an argument; the stack is the other place. */
static inline struct call any_call(struct chance *chance, struct member *member,
				   struct hmm_dmirror_cmd *slot)
{
	struct call call = {
		.file = below(chance, FILES),
		.number = fuzz_requests[below(chance, ARRAY_SIZE(fuzz_requests))].number,
	};

	if (one_in(chance, 12))
		call.number = any_number(chance, call.number);
	call.request = find_request(call.number);
	call.cmd = (struct hmm_dmirror_cmd){
		.addr = call.request && call.request->writes ?
			harmless_address(chance, member) : any_address(chance, member),
		.ptr = harmless_address(chance, member),
		.npages = any_size(chance),
		.cpages = any(chance),
		.faults = any(chance),
	};
	if (one_in(chance, 3))
		call.cmd.ptr += below(chance, PAGE);
	if (one_in(chance, 20))
		call.cmd.addr += below(chance, PAGE);
	if (call.number == HMM_DMIRROR_FLAGS)
		call.cmd.npages = one_in(chance, 8) ? any(chance) : below(chance, 4);
	call.arg_is_good = !one_in(chance, 25);
	call.arg = slot;
	if (!call.arg_is_good)
		call.arg = one_in(chance, 2) ? (void *)(any(chance) | 1ULL << 63) :
			   one_in(chance, 2) ? (void *)below(chance, PAGE) : page_in(text_room);
	return call;
}

static inline bool is_range(const struct hmm_dmirror_cmd *cmd)
{
	const uint64_t end = (1UL << 47) - PAGE;

	return cmd->addr % PAGE == 0 && cmd->npages && cmd->addr < end &&
	       cmd->npages <= (end - cmd->addr) / PAGE;
}

/* May the request end with @error, the contents of the argument being @after then? */
static inline bool is_documented(const struct member *member, const struct call *call, int error,
				 const struct hmm_dmirror_cmd *after)
{
	const struct fuzz_request *request = call->request;
	bool has_range = call->number != HMM_DMIRROR_RELEASE && call->number != HMM_DMIRROR_FLAGS;

	if (!request)
		return error == ENOTTY;
	/* What can be read but not written makes no range. */
	if (!call->arg_is_good)
		return error == EFAULT || (call->arg == page_in(text_room) && (error == EINVAL ||
			(error == ESRCH && member->opener_may_go[call->file])));
	if (after->addr != call->cmd.addr || after->ptr != call->cmd.ptr ||
	    after->npages != call->cmd.npages)
		return false;
	if (error == ESRCH)
		return member->opener_may_go[call->file] && !after->cpages && !after->faults;
	if (has_range && !is_range(&call->cmd))
		return error == EINVAL && !after->cpages && !after->faults;
	if (has_range && after->cpages > call->cmd.npages)
		return false;
	if (!error)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(request->errors); i++)
		if (request->errors[i] == error)
			return true;
	return false;
}

static inline void show_call(const struct call *call, int error,
			     const struct hmm_dmirror_cmd *after)
{
	const struct hmm_dmirror_cmd *cmd = &call->cmd;

	say("request %#x to file %d, argument at %p", call->number, call->file, call->arg);
	say("... addr %#llx, ptr %#llx, npages %#llx", cmd->addr, cmd->ptr, cmd->npages);
	say("answers error %d, addr %#llx, ptr %#llx, npages %#llx, cpages %#llx, faults %#llx",
	    error, after->addr, after->ptr, after->npages, after->cpages, after->faults);
}

/* Sends it; false if the answer is not documented. */
static inline bool send_call(struct member *member, struct call *call)
{
	struct shared *shared = member->shared;
	struct hmm_dmirror_cmd after = call->cmd;
	int error;

	if (call->arg_is_good)
		memcpy(call->arg, &call->cmd, sizeof(call->cmd));
	error = ioctl(member->files[call->file], call->number, call->arg) ? errno : 0;
	if (call->arg_is_good)
		memcpy(&after, call->arg, sizeof(after));

	__atomic_fetch_add(&shared->calls, 1, __ATOMIC_RELAXED);
	if (!error)
		__atomic_fetch_add(&shared->served, 1, __ATOMIC_RELAXED);
	else if (error < (int)ARRAY_SIZE(shared->errors))
		__atomic_fetch_add(&shared->errors[error], 1, __ATOMIC_RELAXED);
	if (is_documented(member, call, error, &after))
		return true;
	show_call(call, error, &after);
	return false;
}

#endif
