// SPDX-License-Identifier: GPL-2.0
/*
 * A 32-bit program, without a C library, as a 64-bit system need not have one for it.
 * Run by badinput-process; its status is 0, or the line that failed, modulo 256.
 */
#include <asm/errno.h>
#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/mman.h>

#include <dmirror_uapi.h>

#define PAGE	4096
#define NPAGES	4

static long call(long number, long a, long b, long c, long d)
{
	long ret;

	asm volatile("int $0x80" : "=a"(ret) : "a"(number), "b"(a), "c"(b), "d"(c), "S"(d) :
		     "memory");
	return ret;
}

static void leave(int status)
{
	call(__NR_exit, status, 0, 0, 0);
	__builtin_unreachable();
}

#define MUST(what)	do { if (!(what)) leave(__LINE__ % 256 ? __LINE__ % 256 : 255); } while (0)

static char room[(NPAGES + 1) * PAGE], buf[NPAGES * PAGE];

static long request(int fd, unsigned int number, __u64 addr, __u64 npages, __u64 ptr,
		    __u64 cpages)
{
	struct hmm_dmirror_cmd cmd = { .addr = addr, .ptr = ptr, .npages = npages };
	long ret = call(__NR_ioctl, fd, number, (long)&cmd, 0);

	MUST(cmd.addr == addr && cmd.ptr == ptr && cmd.npages == npages);
	MUST(cmd.cpages == cpages);
	return ret;
}

void _start(void)
{
	const __u64 beyond = 1ULL << 32, end = beyond - 2 * PAGE;
	long fd = call(__NR_open, (long)"/dev/hmm_dmirror0", O_RDWR, 0, 0);

	char *mem = (char *)(((long)room + PAGE - 1) & -PAGE);

	MUST(fd >= 0);
	for (int i = 0; i < NPAGES * PAGE; i++)
		mem[i] = i % 251;
	MUST(!request(fd, HMM_DMIRROR_READ, (long)mem, NPAGES, (long)buf, NPAGES));
	for (int i = 0; i < NPAGES * PAGE; i++)
		MUST(buf[i] == (char)(i % 251));
	MUST(!request(fd, HMM_DMIRROR_MIGRATE_TO_DEV, (long)mem, NPAGES, (long)buf, NPAGES));
	for (int i = 0; i < NPAGES * PAGE; i++)
		buf[i] = i % 241;
	MUST(!request(fd, HMM_DMIRROR_WRITE, (long)mem, NPAGES, (long)buf, NPAGES));
	MUST(!request(fd, HMM_DMIRROR_MIGRATE_TO_SYS, (long)mem, NPAGES, 0, NPAGES));
	for (int i = 0; i < NPAGES * PAGE; i++)
		MUST(mem[i] == (char)(i % 241));

	/* The address space of this process has an end of its own. */
	MUST(request(fd, HMM_DMIRROR_READ, beyond, 1, (long)buf, 0) == -EINVAL);
	MUST(request(fd, HMM_DMIRROR_READ, end, 1, (long)buf, 0) == -EINVAL);
	MUST(request(fd, HMM_DMIRROR_READ, end - PAGE, 2, (long)buf, 0) == -EINVAL);
	MUST(!request(fd, HMM_DMIRROR_SNAPSHOT, end - PAGE, 1, (long)buf, 1));
	MUST(request(fd, HMM_DMIRROR_READ, (long)mem, beyond / PAGE, (long)buf, 0) == -EINVAL);
	/* 64 bits that are not to be taken for 32. */
	MUST(request(fd, HMM_DMIRROR_READ, beyond + (long)mem, 1, (long)buf, 0) == -EINVAL);
	MUST(request(fd, HMM_DMIRROR_READ, (long)mem, beyond + 1, (long)buf, 0) == -EINVAL);
	MUST(request(fd, HMM_DMIRROR_READ, (long)mem, 1, beyond + (long)buf, 0) == -EFAULT);
	MUST(call(__NR_ioctl, fd, _IOWR('H', 0x7f, struct hmm_dmirror_cmd), 0, 0) == -ENOTTY);
	MUST(call(__NR_ioctl, fd, HMM_DMIRROR_READ, 0, 0) == -EFAULT);
	leave(0);
}
