// SPDX-License-Identifier: GPL-2.0
/*
 * Callers that are not the process that opened the file: it has exited, or called
 * execve(), or has passed the file on. And callers of 32 bits.
 */
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "badinput.h"

FIXTURE(process)
{
	struct stage stage;
};

FIXTURE_SETUP(process)
{
	self->stage.fd = dev_open(0);
	ASSERT_GE(self->stage.fd, 0);
	ASSERT_TRUE(set_stage(&self->stage));
}

FIXTURE_TEARDOWN(process)
{
	ASSERT_EQ(close(self->stage.fd), 0);
}

/* --- An opener that has gone -------------------------------------------------------- */

static bool set_outputs(struct hmm_dmirror_cmd cmd, int fd, unsigned int number)
{
	uint64_t npages = cmd.npages;

	return raw(fd, number, &cmd) == ESRCH && cmd.npages == npages && !cmd.cpages &&
	       !cmd.faults;
}

/* ESRCH comes after what needs no opener, and before what does. */
static bool is_orphan(struct stage *stage, int fd)
{
	struct hmm_dmirror_cmd nonsense = { .addr = 1, .npages = ~0ULL };

	return all_refused(stage, fd, &stage->cmd, ESRCH) &&
	       all_refused(stage, fd, &nonsense, ESRCH) &&
	       all_refused(stage, fd, NULL, EFAULT) &&
	       set_outputs(stage->cmd, fd, HMM_DMIRROR_READ) &&
	       set_outputs(stage->cmd, fd, HMM_DMIRROR_RELEASE) &&
	       raw(fd, _IOWR('H', 0x7f, struct hmm_dmirror_cmd), &nonsense) == ENOTTY &&
	       !close(fd);
}

/* The process in between opens the file, has pages on the device, and is no more. */
TEST_F(process, opener_exited)
{
	int gone[2], report[2];
	struct stage *stage = &self->stage;
	bool ok = false;
	pid_t opener;

	ASSERT_EQ(pipe(gone), 0);
	ASSERT_EQ(pipe(report), 0);
	opener = fork();
	ASSERT_GE(opener, 0);
	if (!opener) {
		int fd = dev_open(0);
		char c;

		if (fd < 0 || dev_take(fd, stage->mem, NPAGES, scratch) != NPAGES)
			_exit(1);
		if (fork())
			_exit(0);
		/* Nobody writes here: the read ends when the opener has gone. */
		close(gone[1]);
		/* A mapping of our own at the same place: none of the device's business. */
		ok = !read(gone[0], &c, 1) && set_stage(stage) && is_orphan(stage, fd);
		fflush(stdout);
		_exit(write(report[1], &ok, sizeof(ok)) != sizeof(ok));
	}
	ASSERT_EQ(waitpid(opener, NULL, 0), opener);
	close(gone[1]);
	close(report[1]);
	ASSERT_EQ(read(report[0], &ok, sizeof(ok)), sizeof(ok));
	EXPECT_TRUE(ok);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

/* The opener goes on as another program, and its child has the file. */
TEST_F(process, opener_called_execve)
{
	struct stage *stage = &self->stage;
	int gone[2], fd;
	pid_t opener;
	char c;

	ASSERT_EQ(pipe2(gone, O_CLOEXEC), 0);
	opener = fork();
	ASSERT_GE(opener, 0);
	if (!opener) {
		int sockets[2];
		pid_t heir;

		fd = dev_open(0);
		if (fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets))
			_exit(1);
		heir = fork();
		if (heir) {
			close(sockets[0]);
			execlp("sleep", "sleep", "1000", NULL);
			_exit(1);
		}
		close(sockets[1]);
		/* The opener's end closes when it becomes another program. */
		c = read(sockets[0], &c, 1) || !set_stage(stage) || !is_orphan(stage, fd);
		fflush(stdout);
		_exit(write(gone[1], &c, 1) != 1);
	}
	close(gone[1]);
	c = 1;
	EXPECT_EQ(read(gone[0], &c, 1), 1);
	EXPECT_EQ(c, 0);
	kill(opener, SIGKILL);
	EXPECT_EQ(waitpid(opener, NULL, 0), opener);
}

/* --- A file that has been passed on -------------------------------------------------- */

static bool send_file(int socket, int fd)
{
	char room[CMSG_SPACE(sizeof(fd))] = "", c = 0;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(sizeof(fd));
	memcpy(CMSG_DATA(cmsg), &fd, sizeof(fd));
	return sendmsg(socket, &msg, 0) == 1;
}

static int receive_file(int socket)
{
	char room[CMSG_SPACE(sizeof(int))], c;
	struct iovec iov = { &c, 1 };
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = room,
		.msg_controllen = sizeof(room),
	};
	int fd = -1;

	if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) == 1 && CMSG_FIRSTHDR(&msg))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(fd));
	return fd;
}

/* In an address space whose memory is not the opener's: whose are the addresses? */
static bool use_passed_file(struct stage *stage, int fd, char *mine)
{
	unsigned char map[NPAGES];

	/* Those of the range are the opener's ... */
	if (dev_read(fd, mine, NPAGES, scratch) != -EFAULT ||
	    dev_write(fd, mine, NPAGES, scratch) != -EFAULT ||
	    dev_take(fd, mine, NPAGES, scratch) != -EINVAL ||
	    dev_give(fd, mine, NPAGES) != -EINVAL ||
	    dev_fault(fd, true, mine, NPAGES).error != EFAULT ||
	    dev_snapshot(fd, mine, NPAGES, map) != NPAGES || map[0] != AT_ERROR)
		return false;
	/* ... and those of buffer and argument the caller's. */
	if (dev_read(fd, stage->mem, NPAGES, stage->buf) != -EFAULT ||
	    dev_write(fd, stage->mem, NPAGES, stage->buf) != -EFAULT ||
	    raw(fd, HMM_DMIRROR_READ, stage->buf) != EFAULT)
		return false;
	if (dev_read(fd, stage->mem, NPAGES, mine) != NPAGES || !holds(mine, NPAGES, SEED) ||
	    dev_take(fd, stage->mem, NPAGES, mine) != NPAGES || !holds(mine, NPAGES, SEED) ||
	    !all_at(fd, stage->mem, NPAGES, AT_DEVICE))
		return false;
	fill(mine, NPAGES, OTHER);
	return dev_write(fd, stage->mem, NPAGES, mine) == NPAGES &&
	       dev_release(fd, NULL, 0) == NPAGES;
}

TEST_F(process, passed_file)
{
	struct stage *stage = &self->stage;
	int sockets[2], status = -1;
	pid_t other;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	other = fork();
	ASSERT_GE(other, 0);
	if (!other) {
		char *mine = map_at(NOWHERE, NPAGES);
		int fd = receive_file(sockets[0]);

		close(stage->fd);
		munmap(stage->mem, NPAGES * PAGE);
		munmap(stage->buf, NPAGES * PAGE);
		status = fd < 0 || mine == MAP_FAILED || !use_passed_file(stage, fd, mine);
		fflush(stdout);
		_exit(status);
	}
	ASSERT_TRUE(send_file(sockets[1], stage->fd));
	ASSERT_EQ(waitpid(other, &status, 0), other);
	EXPECT_EQ(status, 0);
	EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_SYSTEM));
	EXPECT_TRUE(holds(stage->mem, NPAGES, OTHER));
	EXPECT_TRUE(holds(stage->buf, NPAGES, OTHER));
}

/* --- 32 bits ------------------------------------------------------------------------- */

/* The system call of a 32-bit program, from this one. */
static int raw32(int fd, unsigned int request, uint32_t arg)
{
	long ret;

	asm volatile("int $0x80" : "=a"(ret) : "a"(54), "b"(fd), "c"(request), "d"(arg) :
		     "r8", "r9", "r10", "r11", "memory");
	return -(int)ret;
}

TEST_F(process, compat_call)
{
	struct stage *stage = &self->stage;
	struct hmm_dmirror_cmd *low = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	uint32_t arg = (uintptr_t)low;

	ASSERT_NE(low, MAP_FAILED);
	/* The addresses in the argument have 64 bits all the same. */
	*low = stage->cmd;
	EXPECT_EQ(raw32(stage->fd, HMM_DMIRROR_READ, arg), 0);
	EXPECT_EQ(low->cpages, NPAGES);
	EXPECT_TRUE(holds(stage->buf, NPAGES, SEED));
	EXPECT_EQ(raw32(stage->fd, HMM_DMIRROR_MIGRATE_TO_DEV, arg), 0);
	EXPECT_TRUE(all_at(stage->fd, stage->mem, NPAGES, AT_DEVICE));
	EXPECT_EQ(raw32(stage->fd, _IOWR('H', 0x7f, *low), arg), ENOTTY);
	EXPECT_EQ(raw32(stage->fd, HMM_DMIRROR_READ, 0), EFAULT);
	EXPECT_EQ(raw32(stage->fd, HMM_DMIRROR_READ, -1), EFAULT);
	low->npages = 0;
	EXPECT_EQ(raw32(stage->fd, HMM_DMIRROR_READ, arg), EINVAL);
	EXPECT_TRUE(holds(stage->mem, NPAGES, SEED));
}

/* A program of 32 bits, whose address space ends below 4 GiB. */
TEST_F(process, compat_program)
{
	int status = -1;
	pid_t child = fork();

	ASSERT_GE(child, 0);
	if (!child) {
		execlp("badinput-32", "badinput-32", NULL);
		_exit(255);
	}
	ASSERT_EQ(waitpid(child, &status, 0), child);
	EXPECT_EQ(status, 0) {
		TH_LOG("badinput-32 failed in line %d (modulo 256)", WEXITSTATUS(status));
	}
}

TEST_HARNESS_MAIN
