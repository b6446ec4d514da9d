// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of memory that a device cannot have, or only where it is. (What it may do
 * there is in mappings.c.)
 */
#include <sys/syscall.h>

#include "badinput-fixture.h"

/* The request is about @npages of @file at @where, in place of nothing. */
static bool map_file(struct stage *stage, int file, size_t npages, int how)
{
	void *mem = mmap(NOWHERE, npages * PAGE, PROT_READ | PROT_WRITE, how | MAP_FIXED, file, 0);

	stage->cmd.addr = (uintptr_t)NOWHERE;
	if (file >= 0)
		close(file);
	return mem == NOWHERE;
}

static bool hugetlb(struct stage *stage)
{
	return map_file(stage, -1, HUGE_PAGES, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB);
}

static const struct answer hugetlb_answers[KINDS] = {
	[READ] = { 0, NPAGES }, [WRITE] = { 0, NPAGES },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EOPNOTSUPP }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EINVAL }, [WRITE_FAULT] = { EINVAL },
};

FIXTURE_VARIANT_ADD(badinput, hugetlb)
{
	.spoil = hugetlb,
	.answers = hugetlb_answers,
	.frozen = true,
};

static bool secret_memory(struct stage *stage)
{
	int file = syscall(__NR_memfd_secret, 0);

	return !ftruncate(file, NPAGES * PAGE) && map_file(stage, file, NPAGES, MAP_SHARED);
}

static const struct answer secret_memory_answers[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { EFAULT },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT }, [WRITE_FAULT] = { EFAULT },
};

FIXTURE_VARIANT_ADD(badinput, secret_memory)
{
	.spoil = secret_memory,
	.answers = secret_memory_answers,
	.frozen = true,
};

static bool behind_the_end_of_a_file(struct stage *stage)
{
	int file = memfd_create("badinput", MFD_CLOEXEC);

	return !ftruncate(file, 2 * PAGE) && map_file(stage, file, NPAGES, MAP_SHARED);
}

static const struct answer behind_the_end_of_a_file_answers[KINDS] = {
	[READ] = { EFAULT, ANY }, [WRITE] = { EFAULT, ANY },
	[TO_DEV] = { ENOENT }, [TO_SYS] = { 0 }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { EFAULT, ANY }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EFAULT }, [WRITE_FAULT] = { EFAULT },
};

FIXTURE_VARIANT_ADD(badinput, behind_the_end_of_a_file)
{
	.spoil = behind_the_end_of_a_file,
	.answers = behind_the_end_of_a_file_answers,
	.frozen = true,
};

/* A mapping of page frames, as those of devices are. */
static bool kernel_pages(struct stage *stage)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[256];
	void *mem = NULL;

	while (!mem && maps && fgets(line, sizeof(line), maps)) {
		if (strstr(line, "[vvar]"))
			sscanf(line, "%p", &mem);
	}
	if (maps)
		fclose(maps);
	stage->cmd.addr = (uintptr_t)mem;
	stage->cmd.npages = 1;
	return mem;
}

static const struct answer kernel_pages_answers[KINDS] = {
	[READ] = { EFAULT }, [WRITE] = { EPERM },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL }, [SNAPSHOT] = { 0, 1 },
	[EXCLUSIVE] = { EPERM }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EINVAL }, [WRITE_FAULT] = { EINVAL },
};

FIXTURE_VARIANT_ADD(badinput, kernel_pages)
{
	.spoil = kernel_pages,
	.answers = kernel_pages_answers,
	.frozen = true,
};

/* What the device itself maps: pages of the kernel's own. */
static bool device_mapping(struct stage *stage)
{
	void *mem = mmap(NOWHERE, NPAGES * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_FIXED, stage->fd, 0);

	stage->cmd.addr = (uintptr_t)NOWHERE;
	return mem == NOWHERE;
}

static const struct answer device_mapping_answers[KINDS] = {
	[READ] = { 0, NPAGES }, [WRITE] = { 0, NPAGES },
	[TO_DEV] = { EINVAL }, [TO_SYS] = { EINVAL }, [SNAPSHOT] = { 0, NPAGES },
	[EXCLUSIVE] = { 0, NPAGES }, [CHECK_EXCLUSIVE] = { 0, ANY },
	[FAULT] = { EINVAL }, [WRITE_FAULT] = { EINVAL },
};

FIXTURE_VARIANT_ADD(badinput, device_mapping)
{
	.spoil = device_mapping,
	.answers = device_mapping_answers,
	.frozen = true,
};

TEST_HARNESS_MAIN
