// SPDX-License-Identifier: GPL-2.0
/*
 * A device that has not heard of something reaches what is not its process's. So
 * these tests take pages away in each way there is, let a stranger have what has
 * become free, and look whether the device sees the stranger's data or changes them.
 */
#include <kselftest_harness.h>

#include <sys/socket.h>

#include "onewalk.h"

#define NPAGES		256
#define MANY		(4 * NPAGES)	/* the stranger's: more than has become free */
#define SEED		1000
#define OTHER		100000
#define STRANGE		200000

/* A process that shares no memory with the test. */
struct stranger {
	pid_t pid;
	int requests;
	int answers;
};

enum strange_request {
	GET_MEMORY,	/* as much as has become free, and more; fill it */
	GET_DEVICE,	/* and move it to the device */
	HAS_ITS_OWN,	/* is the memory as it was? */
};

static void be_stranger(int requests, int answers)
{
	char *mem = map_pages(MANY), *buf = map_pages(MANY);
	char request, ok = 0;
	int fd = -1;

	while (read(requests, &request, 1) == 1) {
		switch (request) {
		case GET_MEMORY:
			fill(mem, MANY, STRANGE);
			ok = 1;
			break;
		case GET_DEVICE:
			fill(mem, MANY, STRANGE);
			fd = dev_open(0);
			ok = fd >= 0 && dev_take(fd, mem, MANY, buf) == MANY;
			break;
		case HAS_ITS_OWN:
			ok = fd < 0 || (dev_read(fd, mem, MANY, buf) == MANY &&
					holds(buf, MANY, STRANGE));
			ok = ok && holds(mem, MANY, STRANGE);
			break;
		}
		if (write(answers, &ok, 1) != 1)
			break;
	}
	_exit(0);
}

static bool start_stranger(struct stranger *stranger)
{
	int requests[2], answers[2];

	if (pipe2(requests, O_CLOEXEC) || pipe2(answers, O_CLOEXEC))
		return false;
	stranger->pid = fork();
	if (!stranger->pid) {
		close(requests[1]);
		be_stranger(requests[0], answers[1]);
	}
	close(requests[0]);
	close(answers[1]);
	stranger->requests = requests[1];
	stranger->answers = answers[0];
	return stranger->pid > 0;
}

static bool stranger_does(struct stranger *stranger, enum strange_request request)
{
	char c = request, ok = 0;

	return write(stranger->requests, &c, 1) == 1 &&
	       read(stranger->answers, &ok, 1) == 1 && ok;
}

FIXTURE(isolation)
{
	struct stranger stranger;
	int fd;
	int fd2;	/* a second file of the same device */
	char *mem;	/* NPAGES */
	char *buf;	/* as large */
};

FIXTURE_SETUP(isolation)
{
	cpu_set_t one;

	/* What is freed here is what is allocated next: each CPU has lists of its own. */
	CPU_ZERO(&one);
	CPU_SET(0, &one);
	ASSERT_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
	ASSERT_TRUE(start_stranger(&self->stranger));
	self->fd = dev_open(0);
	ASSERT_GE(self->fd, 0);
	self->fd2 = dev_open(0);
	ASSERT_GE(self->fd2, 0);
	self->mem = map_pages(NPAGES);
	ASSERT_NE(self->mem, MAP_FAILED);
	self->buf = map_pages(NPAGES);
	ASSERT_NE(self->buf, MAP_FAILED);
	fill(self->buf, NPAGES, SEED);
}

FIXTURE_TEARDOWN(isolation)
{
	ASSERT_EQ(close(self->fd), 0);
	ASSERT_EQ(close(self->fd2), 0);
	close(self->stranger.requests);
	ASSERT_EQ(waitpid(self->stranger.pid, NULL, 0), self->stranger.pid);
}

#define STRANGER_DOES(request)	ASSERT_TRUE(stranger_does(&self->stranger, (request)))
#define STRANGER_IS_WELL()	EXPECT_TRUE(stranger_does(&self->stranger, HAS_ITS_OWN))

/* The device reads @seed's data, or zeroes where there are none; then writes others. */
#define DEVICE_IS_AT_HOME(seed) do {						\
	ASSERT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), NPAGES);	\
	EXPECT_TRUE((seed) ? holds(self->buf, NPAGES, (seed)) :			\
			     is_zero(self->buf, NPAGES));			\
	fill(self->buf, NPAGES, OTHER);						\
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);	\
	STRANGER_IS_WELL();							\
	EXPECT_TRUE(holds(self->mem, NPAGES, OTHER));				\
} while (0)

/* The first file knows pages of the system that the second moves to the device. */
TEST_F_TIMEOUT(isolation, moved_by_second_file, TIMEOUT)
{
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_take(self->fd2, self->mem, NPAGES, self->buf), NPAGES);
	STRANGER_DOES(GET_MEMORY);
	DEVICE_IS_AT_HOME(SEED);
}

/* The first file knows pages of the device that the second brings home. */
TEST_F_TIMEOUT(isolation, fetched_by_second_file, TIMEOUT)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_GE(dev_give(self->fd2, self->mem, NPAGES), 0);
	STRANGER_DOES(GET_DEVICE);
	DEVICE_IS_AT_HOME(SEED);
}

/* The other device takes the pages away. */
TEST_F_TIMEOUT(isolation, moved_by_other_device, TIMEOUT)
{
	int other = dev_open(1);

	ASSERT_GE(other, 0);
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(dev_take(other, self->mem, NPAGES, self->buf), NPAGES);
	STRANGER_DOES(GET_DEVICE);
	DEVICE_IS_AT_HOME(SEED);
	close(other);
}

TEST_F_TIMEOUT(isolation, dropped_in_system, TIMEOUT)
{
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTNEED), 0);
	STRANGER_DOES(GET_MEMORY);
	DEVICE_IS_AT_HOME(0);
}

TEST_F_TIMEOUT(isolation, dropped_on_device, TIMEOUT)
{
	fill(self->mem, NPAGES, SEED);
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(madvise(self->mem, NPAGES * PAGE, MADV_DONTNEED), 0);
	STRANGER_DOES(GET_DEVICE);
	DEVICE_IS_AT_HOME(0);
}

TEST_F_TIMEOUT(isolation, unmapped, TIMEOUT)
{
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_EQ(munmap(self->mem, NPAGES * PAGE), 0);
	STRANGER_DOES(GET_MEMORY);
	EXPECT_EQ(dev_read(self->fd, self->mem, NPAGES, self->buf), -EFAULT);
	EXPECT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), -EFAULT);
	STRANGER_IS_WELL();
}

TEST_F_TIMEOUT(isolation, swapped_out, TIMEOUT)
{
	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	ASSERT_TRUE(swap_out(self->mem, NPAGES));
	STRANGER_DOES(GET_MEMORY);
	DEVICE_IS_AT_HOME(SEED);
}

/* The CPU's copy on write gives the child the old pages; then the child goes. */
TEST_F_TIMEOUT(isolation, copied_on_write, TIMEOUT)
{
	pid_t child;

	ASSERT_EQ(dev_write(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	child = fork();
	ASSERT_GE(child, 0);
	if (!child) {
		pause();
		_exit(0);
	}
	fill(self->mem, NPAGES, SEED);
	kill(child, SIGKILL);
	ASSERT_EQ(waitpid(child, NULL, 0), child);
	STRANGER_DOES(GET_MEMORY);
	DEVICE_IS_AT_HOME(SEED);
}

/* The pages are on the device, the process is gone; then another uses them. */
TEST_F_TIMEOUT(isolation, left_by_the_dead, TIMEOUT)
{
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		int fd = dev_open(0);

		fill(self->mem, NPAGES, OTHER);
		_exit(dev_take(fd, self->mem, NPAGES, self->buf) != NPAGES);
	}
	ASSERT_EQ(waitpid(child, NULL, 0), child);
	/* Untouched memory on the device is empty, whoever had the place before. */
	ASSERT_EQ(dev_take(self->fd, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(is_zero(self->buf, NPAGES));
	STRANGER_DOES(GET_DEVICE);
	DEVICE_IS_AT_HOME(0);
}

static bool send_file(int socket, int file)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(file))];
	} control = {};
	char c = 0;
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(file));
	memcpy(CMSG_DATA(&control.header), &file, sizeof(file));
	return sendmsg(socket, &message, 0) == 1;
}

static int receive_file(int socket)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	char c;
	struct iovec iov = { .iov_base = &c, .iov_len = 1 };
	struct msghdr message = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int file = -1;

	if (recvmsg(socket, &message, 0) == 1)
		memcpy(&file, CMSG_DATA(&control.header), sizeof(file));
	return file;
}

/*
 * A file that has been passed on: addresses are the opener's, the buffer is the
 * caller's, at the same address here. When the opener has gone there is nothing.
 */
TEST_F_TIMEOUT(isolation, file_passed_on, TIMEOUT)
{
	int sockets[2], file, status;
	pid_t opener;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	opener = fork();
	ASSERT_GE(opener, 0);
	if (!opener) {
		char c;

		close(sockets[0]);
		file = dev_open(0);
		fill(self->mem, NPAGES, OTHER);
		fill(self->buf, NPAGES, OTHER);
		/* Both halves of the memory, the device's and the system's. */
		if (dev_take(file, self->mem, NPAGES / 2, scratch) != NPAGES / 2 ||
		    !send_file(sockets[1], file) || read(sockets[1], &c, 1) != 1 ||
		    !holds(self->buf, NPAGES, OTHER) || !holds(self->mem, NPAGES, SEED))
			_exit(1);
		_exit(0);
	}
	close(sockets[1]);
	file = receive_file(sockets[0]);
	ASSERT_GE(file, 0);

	EXPECT_EQ(dev_read(file, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_TRUE(holds(self->buf, NPAGES, OTHER));
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	fill(self->buf, NPAGES, SEED);
	EXPECT_EQ(dev_write(file, self->mem, NPAGES, self->buf), NPAGES);
	EXPECT_EQ(dev_give(file, self->mem, NPAGES), NPAGES / 2);
	EXPECT_TRUE(is_zero(self->mem, NPAGES));

	EXPECT_EQ(write(sockets[0], "", 1), 1);
	ASSERT_EQ(waitpid(opener, &status, 0), opener);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(dev_read(file, self->mem, 1, self->buf), -ESRCH);
	EXPECT_EQ(dev_write(file, self->mem, 1, self->buf), -ESRCH);
	EXPECT_EQ(dev_snapshot(file, self->mem, 1, self->buf), -ESRCH);
	EXPECT_EQ(dev_take(file, self->mem, 1, self->buf), -ESRCH);
	EXPECT_EQ(dev_give(file, self->mem, 1), -ESRCH);
	EXPECT_EQ(dev_release(file, self->mem, 1), -ESRCH);
	EXPECT_TRUE(is_zero(self->mem, NPAGES));
	close(file);
}

TEST_HARNESS_MAIN
