/* callback, where the program answers later: what it may do with a ticket, and when. Run under the thread sanitizer, too. */
#include <outbox/relay.h>

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cm.h"
#include "sink_trial.h"
#include "sinks.h"

#define TICKETS_MAX 4
#define MANY        2000
#define WORKERS     4

static const struct ob_message message = {
    .id = {"id-1", 4}, .topic = {"t", 1}, .payload = {"p", 1}};

/* What the program has taken. */
struct taken {
	struct ob_callback_ticket *tickets[TICKETS_MAX];
	unsigned count;
};

static void
take(void *context, const struct ob_callback_delivery *delivery, struct ob_callback_ticket *ticket)
{
	struct taken *taken = context;

	assert_ptr_equal(delivery->message, &message);
	assert_int_equal(delivery->attempt, 3);
	assert_true(taken->count < TICKETS_MAX);
	taken->tickets[taken->count++] = ticket;
}

static void
open_with(struct trial *trial, struct taken *taken, const char *const *options)
{
	const struct ob_callback callback = {.context = taken, .take = take};

	*taken = (struct taken){0};
	assert_int_equal(trial_open_callback(trial, &callback, options), OB_OK);
}

/* Submits messages of the tickets 1, 2 ... `count`; how many were accepted. */
static size_t
submit(struct trial *trial, size_t count)
{
	struct ob_delivery deliveries[TICKETS_MAX];
	size_t accepted;

	for (size_t i = 0; i < count; i++)
		deliveries[i] =
		    (struct ob_delivery){.ticket = i + 1, .message = &message, .attempt = 3};
	trial->sink->ops->submit(trial->sink, deliveries, count, &accepted);
	return accepted;
}

static size_t
poll_for(struct trial *trial, int timeout_ms, struct ob_receipt *receipts)
{
	return trial->sink->ops->poll(trial->sink, timeout_ms, receipts, TICKETS_MAX);
}

static void
answers_come_in_any_order(void **state)
{
	struct ob_receipt receipts[TICKETS_MAX];
	struct ob_sink_limits limits;
	struct taken taken;
	struct trial trial;

	(void)state;
	open_with(&trial, &taken, NULL);
	trial.sink->ops->limits(trial.sink, &limits);
	assert_int_equal(limits.order, OB_ORDER_NONE);
	assert_int_equal(submit(&trial, 3), 3);
	assert_int_equal(poll_for(&trial, 0, receipts), 0);
	assert_int_equal(taken.count, 3);
	assert_true(ob_callback_answer(taken.tickets[2], OB_FATE_SENT, NULL, NULL, 0));
	assert_true(
	    ob_callback_answer(taken.tickets[0], OB_FATE_RETRY, "No Code!", "line\nnext", 7));
	assert_true(ob_callback_answer(taken.tickets[1], OB_FATE_REJECT, "stock_locked", NULL, 0));
	assert_int_equal(poll_for(&trial, 1000, receipts), 3);
	assert_int_equal(receipts[0].ticket, 3);
	assert_int_equal(receipts[0].fate, OB_FATE_SENT);
	assert_int_equal(receipts[1].ticket, 1);
	assert_int_equal(receipts[1].fate, OB_FATE_RETRY);
	assert_int_equal(receipts[1].retry_after_ms, 7);
	assert_string_equal(receipts[1].code, "callback_failed");
	assert_string_equal(receipts[1].text, "line?next");
	assert_int_equal(receipts[2].fate, OB_FATE_REJECT);
	assert_string_equal(receipts[2].code, "stock_locked");
	trial_close(&trial);
}

static void
answer_within(void *context, const struct ob_callback_delivery *delivery,
	      struct ob_callback_ticket *ticket)
{
	(void)context;
	(void)delivery;
	assert_true(ob_callback_answer(ticket, OB_FATE_SENT, NULL, NULL, 0));
}

static void
an_answer_may_come_within_the_call(void **state)
{
	const struct ob_callback callback = {.take = answer_within};
	struct trial trial;

	(void)state;
	assert_int_equal(trial_open_callback(&trial, &callback, NULL), OB_OK);
	for (int i = 0; i < 3; i++)
		assert_int_equal(trial_send(&trial, &message).fate, OB_FATE_SENT);
	trial_close(&trial);
}

static void
what_is_not_answered_in_time_is_unknown(void **state)
{
	static const char *const options[] = {"in-flight=1", "request-timeout=20ms", NULL};
	struct ob_receipt receipts[TICKETS_MAX];
	struct taken taken;
	struct trial trial;

	(void)state;
	open_with(&trial, &taken, options);
	assert_int_equal(submit(&trial, 2), 1);
	assert_int_equal(poll_for(&trial, 10000, receipts), 1);
	assert_int_equal(receipts[0].fate, OB_FATE_UNKNOWN);
	assert_string_equal(receipts[0].code, "no_answer");
	/* The program still has it, and gets no other before it answers, which is too late. */
	assert_int_equal(submit(&trial, 1), 0);
	assert_false(ob_callback_answer(taken.tickets[0], OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(poll_for(&trial, 0, receipts), 0);
	assert_int_equal(submit(&trial, 1), 1);
	assert_int_equal(poll_for(&trial, 0, receipts), 0);
	assert_true(ob_callback_answer(taken.tickets[1], OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(poll_for(&trial, 1000, receipts), 1);
	assert_int_equal(receipts[0].fate, OB_FATE_SENT);
	trial_close(&trial);
}

static void
a_cancel_tells_apart_what_the_program_has(void **state)
{
	static const char *const options[] = {"in-flight=2", NULL};
	struct ob_receipt receipts[TICKETS_MAX];
	struct taken taken;
	struct trial trial;

	(void)state;
	open_with(&trial, &taken, options);
	assert_int_equal(submit(&trial, 1), 1);
	assert_int_equal(poll_for(&trial, 0, receipts), 0);
	assert_int_equal(submit(&trial, 2), 1);
	trial.sink->ops->cancel(trial.sink);
	/* The answer comes between the cancel and its receipt: that one stands. */
	assert_false(ob_callback_answer(taken.tickets[0], OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(poll_for(&trial, 0, receipts), 2);
	assert_int_equal(taken.count, 1);
	assert_int_equal(receipts[0].fate, OB_FATE_RETURNED);
	assert_int_equal(receipts[1].fate, OB_FATE_UNKNOWN);
	assert_int_equal(submit(&trial, 3), 2);
	trial_close(&trial);
}

static void
a_program_that_keeps_all_is_told_of_once(void **state)
{
	static const char *const options[] = {"in-flight=2", NULL};
	struct ob_receipt receipts[TICKETS_MAX];
	struct taken taken;
	struct trial trial;
	unsigned before = trial_logged;

	(void)state;
	open_with(&trial, &taken, options);
	submit(&trial, 2);
	poll_for(&trial, 0, receipts);
	assert_int_equal(submit(&trial, 1), 0);
	assert_int_equal(trial_logged, before);
	trial.sink->ops->cancel(trial.sink);
	assert_int_equal(poll_for(&trial, 0, receipts), 2);
	assert_int_equal(submit(&trial, 1), 0);
	assert_int_equal(submit(&trial, 1), 0);
	assert_int_equal(trial_logged, before + 1);
	assert_non_null(strstr(trial_log, "still with the program"));
	for (int i = 0; i < 2; i++)
		assert_false(ob_callback_answer(taken.tickets[i], OB_FATE_SENT, NULL, NULL, 0));
	assert_int_equal(submit(&trial, 3), 2);
	trial_close(&trial);
}

static void
an_answer_may_come_after_the_end(void **state)
{
	struct ob_receipt receipts[TICKETS_MAX];
	struct taken taken;
	struct trial trial;

	(void)state;
	open_with(&trial, &taken, NULL);
	submit(&trial, 3);
	poll_for(&trial, 0, receipts);
	assert_true(ob_callback_answer(taken.tickets[1], OB_FATE_SENT, NULL, NULL, 0));
	trial_close(&trial);
	assert_false(ob_callback_answer(taken.tickets[0], OB_FATE_SENT, NULL, NULL, 0));
	assert_false(ob_callback_answer(taken.tickets[2], OB_FATE_DOWN, "late", "late", 0));
}

static void
one_of_the_two_functions_is_given(void **state)
{
	const struct ob_callback none = {0};
	struct ob_callback both = {.take = take};
	struct trial trial;

	(void)state;
	assert_int_equal(trial_open_callback(&trial, &none, NULL), OB_CONFIG);
	trial_close(&trial);
	both.deliver = (enum ob_fate(*)(void *, struct ob_callback_delivery *))(void *)take;
	assert_int_equal(trial_open_callback(&trial, &both, NULL), OB_CONFIG);
	assert_non_null(strstr(trial.error.text, "give one of them"));
	trial_close(&trial);
}

/* ---- with threads ---- */

struct queue {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct ob_callback_ticket *tickets[MANY];
	unsigned put, got;
};

static void
queue_take(void *context, const struct ob_callback_delivery *delivery,
	   struct ob_callback_ticket *ticket)
{
	struct queue *queue = context;

	(void)delivery;
	pthread_mutex_lock(&queue->lock);
	queue->tickets[queue->put++] = ticket;
	pthread_cond_signal(&queue->changed);
	pthread_mutex_unlock(&queue->lock);
}

/* Answers every third one by a failure, until there have been MANY. */
static void *
queue_work(void *context)
{
	struct queue *queue = context;

	for (;;) {
		unsigned number;

		pthread_mutex_lock(&queue->lock);
		while (queue->got == queue->put && queue->got < MANY)
			pthread_cond_wait(&queue->changed, &queue->lock);
		number = queue->got;
		if (number < MANY)
			queue->got++;
		if (queue->got == MANY)
			pthread_cond_broadcast(&queue->changed);
		pthread_mutex_unlock(&queue->lock);
		if (number == MANY)
			return NULL;
		assert_true(
		    number % 3 == 0
			? ob_callback_answer(queue->tickets[number], OB_FATE_RETRY, "third",
					     "one in three", 0)
			: ob_callback_answer(queue->tickets[number], OB_FATE_SENT, NULL, NULL, 0));
	}
}

static void
many_threads_answer(void **state)
{
	static struct queue queue = {.lock = PTHREAD_MUTEX_INITIALIZER,
				     .changed = PTHREAD_COND_INITIALIZER};
	static const char *const options[] = {"in-flight=50", NULL};
	const struct ob_callback callback = {.context = &queue, .take = queue_take};
	struct ob_delivery delivery = {.message = &message};
	unsigned sent = 0, failed = 0, submitted = 0;
	struct ob_receipt receipts[16];
	pthread_t workers[WORKERS];
	struct trial trial;

	(void)state;
	assert_int_equal(trial_open_callback(&trial, &callback, options), OB_OK);
	for (int i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&workers[i], NULL, queue_work, &queue), 0);
	while (sent + failed < MANY) {
		size_t accepted = 1, count;

		for (; submitted < MANY && accepted == 1; submitted += (unsigned)accepted) {
			delivery.ticket = submitted + 1;
			trial.sink->ops->submit(trial.sink, &delivery, 1, &accepted);
		}
		count = trial.sink->ops->poll(trial.sink, 10000, receipts, 16);
		assert_true(count > 0 || sent + failed < MANY);
		for (size_t i = 0; i < count; i++) {
			sent += receipts[i].fate == OB_FATE_SENT;
			failed += receipts[i].fate == OB_FATE_RETRY &&
				  strcmp(receipts[i].code, "third") == 0 &&
				  strcmp(receipts[i].text, "one in three") == 0;
		}
	}
	for (int i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	assert_int_equal(failed, (MANY + 2) / 3);
	trial_close(&trial);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(answers_come_in_any_order),
	    cmocka_unit_test(an_answer_may_come_within_the_call),
	    cmocka_unit_test(what_is_not_answered_in_time_is_unknown),
	    cmocka_unit_test(a_cancel_tells_apart_what_the_program_has),
	    cmocka_unit_test(a_program_that_keeps_all_is_told_of_once),
	    cmocka_unit_test(an_answer_may_come_after_the_end),
	    cmocka_unit_test(one_of_the_two_functions_is_given),
	    cmocka_unit_test(many_threads_answer),
	};

	return cmocka_run_group_tests_name("callback", tests, NULL, NULL);
}
