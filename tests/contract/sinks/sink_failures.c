/* What every sink must do when its recipient fails, is down or hangs, or when all is given up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sink_cases.h"
#include "skip.h"

#define TRIED_TIMEOUT_MS 300
/* What two busy cores may add to any time. */
#define SLACK_MS 1000

void
cancel_returns_every_ticket(void **state)
{
	int64_t start_ms;
	size_t accepted;

	sink_case_start(state);
	if (sink_case_rig.adapter->hang != NULL)
		sink_case_rig.adapter->hang(sink_case_rig.recipient, true);
	for (size_t i = 0; i < 20; i++)
		rig_message(&sink_case_rig, "k");
	accepted = rig_submit(&sink_case_rig, 0, 20);
	/* Some are then under way. */
	if (sink_case_rig.adapter->hang != NULL)
		rig_poll(&sink_case_rig, 50);
	sink_case_rig.adapter->ops->cancel(sink_case_rig.sink);
	start_ms = rig_now_ms();
	while (sink_case_rig.owed > 0 && rig_now_ms() - start_ms < 5000)
		assert_true(rig_poll(&sink_case_rig, 5000) > 0);
	assert_int_equal(sink_case_rig.owed, 0);
	for (size_t i = 0; i < accepted; i++) {
		enum ob_fate fate = sink_case_rig.messages[i].fate;

		assert_true(fate == OB_FATE_RETURNED || fate == OB_FATE_UNKNOWN ||
			    fate == OB_FATE_SENT);
	}
	sink_case_rig.adapter->ops->cancel(sink_case_rig.sink);
	assert_int_equal(rig_poll(&sink_case_rig, 0), 0);
	if (sink_case_rig.adapter->hang != NULL)
		sink_case_rig.adapter->hang(sink_case_rig.recipient, false);
	rig_look(&sink_case_rig);
	for (size_t i = 0; i < accepted; i++)
		if (sink_case_rig.messages[i].fate == OB_FATE_RETURNED)
			assert_false(sink_case_rig.messages[i].arrived);
	rig_prove_it_works(&sink_case_rig);
	rig_stop(&sink_case_rig);
}

void
a_failed_message_is_followed_as_declared(void **state)
{
	enum ob_sink_order order;

	sink_case_start(state);
	order = sink_case_limits().order;
	if (sink_case_rig.adapter->refuse == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_refusal);
	}
	for (size_t i = 0; i < 4; i++)
		rig_message(&sink_case_rig, i == 3 ? "other" : "k");
	sink_case_rig.adapter->refuse(sink_case_rig.recipient, "m1");
	rig_send(&sink_case_rig, 0, 4);
	rig_look(&sink_case_rig);
	assert_int_equal(sink_case_rig.messages[0].fate, OB_FATE_SENT);
	assert_int_not_equal(sink_case_rig.messages[1].fate, OB_FATE_SENT);
	assert_false(sink_case_rig.messages[1].arrived);
	assert_true(strlen(sink_case_rig.messages[1].code) > 0);
	assert_int_equal(sink_case_rig.messages[3].fate, OB_FATE_SENT);
	if (order == OB_ORDER_ALWAYS) {
		assert_int_not_equal(sink_case_rig.messages[2].fate, OB_FATE_SENT);
		assert_false(sink_case_rig.messages[2].arrived);
	}
	sink_case_rig.adapter->refuse(sink_case_rig.recipient, NULL);
	rig_prove_it_works(&sink_case_rig);
	rig_stop(&sink_case_rig);
}

void
a_recipient_that_is_down_is_told(void **state)
{
	sink_case_start(state);
	if (sink_case_rig.adapter->down == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_down);
	}
	rig_prove_it_works(&sink_case_rig);
	sink_case_rig.adapter->down(sink_case_rig.recipient, true);
	for (size_t i = 1; i < 4; i++) {
		struct rig_message *it = rig_message(&sink_case_rig, "k");

		rig_send(&sink_case_rig, i, 1);
		assert_true(it->fate == OB_FATE_DOWN || it->fate == OB_FATE_BLOCKED);
		assert_true(strlen(it->code) > 0);
		assert_true(strlen(it->text) > 0);
		assert_false(it->arrived);
	}
	sink_case_rig.adapter->down(sink_case_rig.recipient, false);
	rig_prove_it_works(&sink_case_rig);
	rig_stop(&sink_case_rig);
}

void
a_recipient_that_hangs_is_given_up(void **state)
{
	int64_t start_ms;
	static char large[1500000];
	size_t accepted;

	sink_case_start(state);
	if (sink_case_rig.adapter->hang == NULL) {
		rig_stop(&sink_case_rig);
		OB_SKIP(sink_case_rig.adapter->why_no_hang);
	}
	for (size_t i = 0; i < 8; i++)
		if (strncmp(sink_case_rig.setup.options[i], "request-timeout=", 16) == 0 ||
		    sink_case_rig.setup.options[i][0] == '\0') {
			snprintf(sink_case_rig.setup.options[i],
				 sizeof(sink_case_rig.setup.options[i]), "request-timeout=%dms",
				 TRIED_TIMEOUT_MS);
			break;
		}
	sink_case_rig.adapter->ops->close(sink_case_rig.sink);
	memset(sink_case_rig.sink, 0, sink_case_rig.adapter->ops->size);
	assert_int_equal(rig_open(&sink_case_rig, sink_case_rig.setup.url), OB_OK);
	sink_case_rig.adapter->hang(sink_case_rig.recipient, true);
	memset(large, 'x', sizeof(large));
	for (size_t i = 0; i < 3; i++)
		rig_message(&sink_case_rig, "k")->message.payload =
		    (struct ob_bytes){large, sizeof(large)};
	start_ms = rig_now_ms();
	accepted = rig_submit(&sink_case_rig, 0, 3);
	while (sink_case_rig.owed > 0 && rig_now_ms() - start_ms < 20000) {
		int64_t poll_ms = rig_now_ms();

		rig_poll(&sink_case_rig, 50);
		assert_true(rig_now_ms() - poll_ms < 50 + SLACK_MS);
	}
	assert_int_equal(sink_case_rig.owed, 0);
	assert_true(rig_now_ms() - start_ms <
		    TRIED_TIMEOUT_MS + sink_case_rig.adapter->grace_ms + SLACK_MS);
	for (size_t i = 0; i < accepted; i++)
		assert_int_not_equal(sink_case_rig.messages[i].fate, OB_FATE_SENT);
	sink_case_rig.adapter->hang(sink_case_rig.recipient, false);
	rig_prove_it_works(&sink_case_rig);
	rig_stop(&sink_case_rig);
}
