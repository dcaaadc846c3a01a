/* stdout: several sinks that write to one pipe, as the shards of a subscription do. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cm.h"

#include "sink_trial.h"
#include "sinks.h"

#define SINKS  3
#define LINES  8
#define LENGTH 20000 /* of a payload: more than a pipe takes at once */

static struct trial trials[SINKS];
static struct ob_message messages[SINKS];
static int pipe_fds[2];
static char text[2 * SINKS * LINES * (LENGTH + 200)], payloads[SINKS][LENGTH];
static size_t size;

static int
begin(void **state)
{
	const char *options[] = {NULL, NULL};
	char descriptor[32];

	(void)state;
	size = 0;
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	snprintf(descriptor, sizeof(descriptor), "descriptor=%d", pipe_fds[1]);
	options[0] = descriptor;
	for (int i = 0; i < SINKS; i++) {
		memset(payloads[i], 'a' + i, LENGTH);
		messages[i] = (struct ob_message){
		    .id = {"1", 1}, .topic = {"t", 1}, .payload = {payloads[i], LENGTH}};
		assert_int_equal(trial_open(&trials[i], &ob_sink_stdout, "stdout:", options),
				 OB_OK);
	}
	return 0;
}

static int
end(void **state)
{
	(void)state;
	for (int i = 0; i < SINKS; i++)
		if (trials[i].sink != NULL)
			trial_close(&trials[i]);
	memset(trials, 0, sizeof(trials));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

static void
submit(int i, unsigned count)
{
	size_t accepted;

	for (unsigned n = 0; n < count; n++) {
		const struct ob_delivery delivery = {.ticket = n + 1, .message = &messages[i]};

		ob_sink_stdout.submit(trials[i].sink, &delivery, 1, &accepted);
		assert_int_equal(accepted, 1);
	}
}

/* Polls all of them by turns while the pipe is read in small pieces, until `wanted` receipts say "sent". */
static void
turn_about(unsigned wanted)
{
	struct ob_receipt receipts[LINES];
	unsigned sent = 0;

	for (unsigned rounds = 0; sent < wanted; rounds++) {
		assert_in_range(rounds, 0, 1000000);
		for (int i = 0; i < SINKS; i++) {
			size_t count = ob_sink_stdout.poll(trials[i].sink, 0, receipts, LINES);
			ssize_t got = read(pipe_fds[0], text + size, 5000);

			for (size_t n = 0; n < count; n++)
				sent += receipts[n].fate == OB_FATE_SENT;
			size += got > 0 ? (size_t)got : 0;
		}
	}
	for (ssize_t got; (got = read(pipe_fds[0], text + size, 5000)) > 0;)
		size += (size_t)got;
}

/* Every line has the payload of one message, whole. Returns how many there are. */
static unsigned
count_whole_lines(void)
{
	static const char before[] = "\"payload\":\"";
	unsigned count = 0;

	for (char *line = text, *stop; line < text + size; line = stop + 1, count++) {
		char *payload;

		stop = memchr(line, '\n', (size_t)(text + size - line));
		assert_non_null(stop);
		*stop = '\0';
		payload = strstr(line, before);
		assert_non_null(payload);
		payload += strlen(before);
		for (size_t n = 1; n < LENGTH; n++)
			assert_int_equal(payload[n], payload[0]);
		assert_string_equal(payload + LENGTH, "\"}");
	}
	return count;
}

static void
lines_of_several_stay_whole(void **state)
{
	(void)state;
	for (int i = 0; i < SINKS; i++)
		submit(i, LINES);
	turn_about(SINKS * LINES);
	assert_int_equal(count_whole_lines(), SINKS * LINES);
}

static void
what_was_begun_and_cancelled_holds_up_nobody(void **state)
{
	struct ob_receipt receipts[LINES];

	(void)state;
	submit(0, LINES);
	/* Until the pipe is full, in the middle of a line. */
	while (ob_sink_stdout.poll(trials[0].sink, 0, receipts, LINES) > 0)
		continue;
	ob_sink_stdout.cancel(trials[0].sink);
	submit(1, LINES);
	turn_about(LINES);
	/* Some of the first one's were written. */
	assert_in_range(count_whole_lines(), LINES + 1, 2 * LINES - 1);
}

/* A sink that is within a line that it cannot end, and has nothing else to do. */
static void
expect_rest(void)
{
	struct ob_receipt receipts[LINES];
	clock_t began = clock();

	for (int i = 0; i < 10; i++)
		assert_int_equal(ob_sink_stdout.poll(trials[0].sink, 30, receipts, LINES), 0);
	assert_true(clock() - began < CLOCKS_PER_SEC / 10);
}

static void
what_cannot_be_ended_is_waited_for(void **state)
{
	char descriptor[32];
	const char *options[] = {descriptor, "request-timeout=1ms", NULL};
	struct ob_receipt receipts[LINES];

	(void)state;
	snprintf(descriptor, sizeof(descriptor), "descriptor=%d", pipe_fds[1]);
	trial_close(&trials[0]);
	assert_int_equal(trial_open(&trials[0], &ob_sink_stdout, "stdout:", options), OB_OK);
	submit(0, LINES);
	while (ob_sink_stdout.poll(trials[0].sink, 0, receipts, LINES) > 0)
		continue;
	ob_sink_stdout.cancel(trials[0].sink);
	while (ob_sink_stdout.poll(trials[0].sink, 2, receipts, LINES) > 0)
		continue;
	expect_rest();
	/* Nobody reads any more. */
	close(pipe_fds[0]);
	pipe_fds[0] = -1;
	expect_rest();
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, begin, end)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(lines_of_several_stay_whole),
	    CASE(what_was_begun_and_cancelled_holds_up_nobody),
	    CASE(what_cannot_be_ended_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
