/* SPDX-License-Identifier: GPL-2.0 */
/* Each case is one kind of bad input, sent with each request. */
#ifndef DMIRROR_SELFTESTS_BADINPUT_FIXTURE_H
#define DMIRROR_SELFTESTS_BADINPUT_FIXTURE_H

#include "badinput.h"

FIXTURE(badinput)
{
	struct stage stage;
};

FIXTURE_VARIANT(badinput)
{
	bool (*spoil)(struct stage *stage);
	const struct answer *answers;	/* KINDS of them */
	bool frozen;		/* No page may move, whatever the request. */
};

FIXTURE_SETUP(badinput)
{
	self->stage.fd = dev_open(0);
	ASSERT_GE(self->stage.fd, 0);
}

FIXTURE_TEARDOWN(badinput)
{
	ASSERT_EQ(close(self->stage.fd), 0);
}

TEST_F(badinput, each_request)
{
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct request *request = &requests[i];

		EXPECT_TRUE(answers(&self->stage, request, variant->spoil,
				    variant->answers[request->kind], variant->frozen));
		munmap(NOWHERE, HUGE);
	}
}

#endif
