/* Reading the log: order, ordinals, limits, patterns, and bytes that arrive as they were written. */
#include "store_world.h"

#include "skip.h"
#include "store_suite.h"

static void
rows_come_in_commit_order_with_ordinals_from_1(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append(world, "orders", "alice", "one");
	world_append(world, "orders", NULL, "two");
	world_append(world, "bills", "alice", "three");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1 m2 m3");
	for (uint32_t i = 0; i < 3; i++) {
		const struct ob_row *row = &batch->rows[i];

		assert_int_equal(row->ordinal, i + 1);
		assert_true(row->position > 0);
		assert_int_equal(row->attempts, 0);
		assert_int_equal(row->age_ms, 0);
		assert_int_equal(row->due_in_ms, 0);
		assert_int_equal(row->bytes, ob_row_bytes(&row->message));
		assert_int_equal(row->lane, ob_lane_of(&row->message, OB_ORDER_BY_KEY));
	}
	assert_true(batch->rows[0].lane != 0);
	assert_true(batch->rows[0].lane == batch->rows[2].lane);
	assert_true(batch->rows[1].lane == 0);
	assert_false(batch->more);
	assert_int_equal(batch->next_due_ms, -1);
	assert_int_equal(batch->bytes,
			 batch->rows[0].bytes + batch->rows[1].bytes + batch->rows[2].bytes);
	assert_int_equal(world_fetch(world, 0)->count, 0);
	world_append(world, "orders", "bob", "four");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m4");
	assert_int_equal(batch->rows[0].ordinal, 4);
}

static void
ordinals_have_no_hole_over_many_fetches(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	uint64_t next = 1;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 250, "orders", "k");
	fetch.count_max = 7;
	for (;;) {
		struct ob_batch *batch = world_fetch_as(world, 0, &fetch);

		assert_true(batch->count <= 7);
		assert_true(batch->more == (next + batch->count <= 250));
		for (uint32_t i = 0; i < batch->count; i++, next++) {
			assert_int_equal(batch->rows[i].ordinal, next);
			assert_int_equal(world_number(&batch->rows[i]), next);
		}
		if (batch->count == 0)
			break;
		if (next > 100)
			world_settle(world, 0, next - 1 - batch->count / 2);
	}
	assert_int_equal(next, 251);
}

static void
a_fetch_keeps_to_its_limits(void **state)
{
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	struct ob_batch *batch;
	uint32_t one;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 5, "orders", NULL);
	fetch.count_max = 0;
	assert_int_equal(world_fetch_as(world, 0, &fetch)->count, 0);
	fetch.count_max = 1;
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "m1");
	assert_true(batch->more);
	one = batch->rows[0].bytes;
	fetch.count_max = 100;
	fetch.bytes_max = 2 * one + 1;
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "m2 m3");
	assert_true(batch->more);
	/* Too small for one row: it is given only if that is asked for. */
	fetch.bytes_max = one - 1;
	fetch.oversize_ok = false;
	batch = world_fetch_as(world, 0, &fetch);
	assert_int_equal(batch->count, 0);
	assert_true(batch->more);
	fetch.oversize_ok = true;
	assert_string_equal(world_ids(world_fetch_as(world, 0, &fetch)), "m4");
	fetch.bytes_max = one;
	batch = world_fetch_as(world, 0, &fetch);
	assert_string_equal(world_ids(batch), "m5");
	assert_false(batch->more);
}

static void
only_matching_topics_are_given(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	world_subscribe(world, "s", "orders.*, bills");
	world_acquire(world, 0, "s");
	world_append(world, "orders.placed", "a", "1");
	world_append(world, "orders", "a", "2");
	world_append(world, "bills", "a", "3");
	world_append(world, "billsx", "a", "4");
	world_append(world, "orders.", "a", "5");
	world_append(world, "other", "a", "6");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1 m3 m5");
	assert_int_equal(batch->rows[2].ordinal, 3);
}

static void
rows_read_past_are_saved_by_a_settle_of_nothing(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	world_subscribe(world, "s", "orders");
	world_acquire(world, 0, "s");
	world_append_many(world, 40, "other", NULL);
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_true(batch->passed);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 40);
	world_settle(world, 0, 0);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 0);
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, 0);
	assert_false(batch->passed);
	/* With a row open nothing may be settled past it. */
	world_append(world, "orders", NULL, "x");
	world_append_many(world, 3, "other", NULL);
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m41");
	world_settle(world, 0, 0);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 4);
	world_settle(world, 0, 1);
	assert_int_equal(world_stats(world, 0, "s").pending_max, 0);
}

static void
a_long_stretch_of_no_interest_is_read_past(void **state)
{
	struct world *world = *state;
	unsigned fetches = 0;
	struct ob_batch *batch;

	world_subscribe(world, "s", "orders");
	world_acquire(world, 0, "s");
	world_append_many(world, 500, "other", NULL);
	world_append(world, "orders", NULL, "x");
	do {
		batch = world_fetch(world, 0);
		fetches++;
	} while (batch->count == 0 && batch->more && fetches < 1000);
	assert_string_equal(world_ids(batch), "m501");
	assert_int_equal(batch->rows[0].ordinal, 1);
}

static void
a_subscription_may_begin_behind_what_is_there(void **state)
{
	struct world *world = *state;
	struct ob_subscription subscription = {.name = "late", .topics = "*", .from_now = true};

	world_append_many(world, 3, "orders", NULL);
	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	world_acquire(world, 0, "late");
	assert_int_equal(world_fetch(world, 0)->count, 0);
	world_append(world, "orders", NULL, "x");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m4");
}

static void
subscriptions_do_not_touch_each_other(void **state)
{
	struct world *world = *state;

	world_subscribe(world, "a", "*");
	world_subscribe(world, "b", "orders");
	world_append(world, "orders", NULL, "1");
	world_append(world, "bills", NULL, "2");
	world_open(world, 1);
	world_acquire(world, 0, "a");
	world_acquire(world, 1, "b");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m1 m2");
	world_settle(world, 0, 2);
	assert_string_equal(world_ids(world_fetch(world, 1)), "m1");
	assert_int_equal(world_stats(world, 0, "a").pending_max, 0);
	assert_int_equal(world_stats(world, 0, "b").pending_max, 2);
}

static void
the_order_by_topic_and_key_gives_other_lanes(void **state)
{
	struct world *world = *state;
	struct ob_subscription subscription = {
	    .name = "s", .topics = "*", .order_by = OB_ORDER_BY_TOPIC_AND_KEY};
	struct ob_batch *batch;

	expect_ok(world,
		  world->kind->ops->subscribe(world->at[0].store, &subscription, &world->error));
	world_acquire(world, 0, "s");
	world_append(world, "orders", "alice", "1");
	world_append(world, "bills", "alice", "2");
	world_append(world, "orders", "alice", "3");
	batch = world_fetch(world, 0);
	assert_true(batch->rows[0].lane != batch->rows[1].lane);
	assert_true(batch->rows[0].lane == batch->rows[2].lane);
	assert_true(batch->rows[0].lane ==
		    ob_lane_of(&batch->rows[0].message, OB_ORDER_BY_TOPIC_AND_KEY));
}

static void
bytes_expect(struct ob_bytes got, struct ob_bytes want)
{
	assert_int_equal(got.size, want.size);
	assert_true((got.data == NULL) == (want.data == NULL));
	if (want.size > 0)
		assert_memory_equal(got.data, want.data, want.size);
}

#define BYTES(literal)                                         \
	{                                                      \
		.data = (literal), .size = sizeof(literal) - 1 \
	}

static const struct ob_message plain_messages[] = {
    {.id = BYTES("01900000-0000-7000-8000-00000000000a"),
     .topic = BYTES("t"),
     .key = BYTES("k"),
     .type = BYTES("order.placed"),
     .payload = BYTES("{\"a\":1}"),
     .content_type = BYTES("application/json"),
     .headers = BYTES(" {\"x\" : \"\\u00e9\"} ")},
    {.id = BYTES("01900000-0000-7000-8000-00000000000b"), .topic = BYTES("t")},
    {.id = BYTES("01900000-0000-7000-8000-00000000000c"),
     .topic = BYTES("t"),
     .key = BYTES(""),
     .type = BYTES(""),
     .payload = BYTES(""),
     .content_type = BYTES("")},
    {.id = BYTES("01900000-0000-7000-8000-00000000000d"),
     .topic = BYTES("t"),
     .payload = BYTES("a\0b\0\0")},
    {.id = BYTES("01900000-0000-7000-8000-00000000000e"),
     .topic = BYTES("\xc3\xa9\x7f"),
     .key = BYTES("\xf0\x9f\x98\x80 \\x'\""),
     .payload = BYTES("\xff\xfe\x80\xc0")},
    {.id = BYTES("01900000-0000-7000-8000-00000000000f"),
     .topic = BYTES("t"),
     .payload = BYTES("\r\n\t\x1b[31m\x7f\\n")},
};
/* What only a database takes that keeps text as it comes. */
static const struct ob_message odd_messages[] = {
    {.id = BYTES("nul"),
     .topic = BYTES("t\0opic"),
     .key = BYTES("\0k\0"),
     .payload = BYTES("a\0b\0\0")},
    {.id = BYTES("invalid \xff"),
     .topic = BYTES("\xc3("),
     .key = BYTES("\xed\xa0\x80"),
     .payload = BYTES("\xff\xfe\x80\xc0")},
};

static void
messages_arrive(struct world *world, const struct ob_message *messages, uint32_t count)
{
	static const struct ob_bytes rewritten = BYTES("{\"x\": \"\xc3\xa9\"}");
	const struct ob_batch *batch;

	for (uint32_t i = 0; i < count; i++)
		world->kind->append(world, &messages[i], 0);
	batch = world_fetch(world, 0);
	assert_int_equal(batch->count, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct ob_message *got = &batch->rows[i].message, *want = &messages[i];

		bytes_expect(got->id, want->id);
		bytes_expect(got->topic, want->topic);
		bytes_expect(got->key, want->key);
		bytes_expect(got->type, want->type);
		bytes_expect(got->payload, want->payload);
		bytes_expect(got->content_type, want->content_type);
		bytes_expect(got->headers, world->kind->rewrites_json && want->headers.data != NULL
					       ? rewritten
					       : want->headers);
		assert_true(got->created_at_us > INT64_C(1500000000) * 1000000);
	}
}

static void
bytes_arrive_as_they_were_written(void **state)
{
	struct world *world = *state;
	const struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	messages_arrive(world, plain_messages, 6);
	/* An empty key is a key. */
	batch = world->at[0].batch;
	assert_true(batch->rows[1].lane == 0);
	assert_true(batch->rows[2].lane != 0);
	if (!world->kind->strict_text)
		messages_arrive(world, odd_messages, 2);
}

static void
payload_append(struct world *world, size_t size)
{
	unsigned char *payload = malloc(size);
	struct ob_message message = {.id = {.data = world_id(++world->appended), .size = 36},
				     .topic = BYTES("t"),
				     .payload = {payload, size}};

	assert_non_null(payload);
	for (size_t i = 0; i < size; i++)
		payload[i] = (unsigned char)('a' + i % 23);
	world->kind->append(world, &message, 0);
	free(payload);
}

static void
a_payload_at_the_limit_is_whole_and_one_above_is_not_read(void **state)
{
	enum { LIMIT = 16 * 1024 * 1024 };
	static const uint64_t sizes[] = {LIMIT + 1, 3 * LIMIT + 1, 0};
	struct world *world = *state;
	struct ob_fetch fetch = world_fetch_all;
	struct ob_batch *batch;
	const unsigned char *bytes;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	payload_append(world, LIMIT);
	payload_append(world, LIMIT + 1);
	payload_append(world, 3 * LIMIT + 1);
	world_append(world, "t", NULL, "next");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m1");
	assert_true(batch->more);
	assert_int_equal(batch->rows[0].message.payload.size, LIMIT);
	assert_int_equal(batch->rows[0].oversize_bytes, 0);
	bytes = batch->rows[0].message.payload.data;
	for (size_t i = 0; i < LIMIT; i += 4099)
		assert_int_equal(bytes[i], 'a' + i % 23);
	assert_int_equal(bytes[LIMIT - 1], 'a' + (LIMIT - 1) % 23);
	fetch.bytes_max = 64 * 1024;
	/* A fetch may end before its limits, since it keeps to a time as well. */
	for (unsigned given = 0; given < 3; given += batch->count) {
		batch = world_fetch_as(world, 0, &fetch);
		assert_true(batch->count > 0);
		for (uint32_t i = 0; i < batch->count; i++) {
			const struct ob_row *row = &batch->rows[i];

			assert_int_equal(row->ordinal, 2 + given + i);
			assert_int_equal(row->oversize_bytes, sizes[given + i]);
			assert_true((row->message.payload.data == NULL) == (sizes[given + i] != 0));
			assert_true(row->bytes < 1024);
		}
	}
	assert_false(batch->more);
}

static void
an_oversize_row_dies_and_can_be_retried_under_a_higher_limit(void **state)
{
	static const char *const low[] = {"message-bytes-max=100KiB", NULL};
	struct world *world = *state;
	struct ob_batch *batch;
	struct ob_outcome outcome;
	uint64_t count;

	world_subscribe(world, "s", "*");
	world_options(world, low);
	world_open(world, 1);
	world_acquire(world, 1, "s");
	payload_append(world, 2000 * 1000);
	batch = world_fetch(world, 1);
	assert_int_equal(batch->rows[0].oversize_bytes, 2000 * 1000);
	assert_string_equal(world_listing(world, 1, &(struct ob_selection){.id = world_id(1)}),
			    "m1");
	outcome = world_outcome(&batch->rows[0], OB_OUTCOME_DEAD, 0);
	world_settle_with(world, 1, 1, &outcome, 1);
	expect_ok(world, world->kind->ops->release(world->at[1].store, &world->error));
	/* The copy may have stayed in the log: trimming must not take it. */
	{
		uint64_t rows;
		bool again;

		expect_ok(world,
			  world->kind->ops->trim(world->at[0].store, &rows, &again, &world->error));
	}
	expect_ok(world, world_change(world, 0, OB_CHANGE_RETRY, "s", OB_PLACE_DEAD, &count));
	assert_int_equal(count, 1);
	world_acquire(world, 0, "s");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "[m1]");
	assert_int_equal(batch->rows[0].oversize_bytes, 0);
	assert_int_equal(batch->rows[0].message.payload.size, 2000 * 1000);
}

static void
what_was_not_settled_is_read_again_by_the_next_owner(void **state)
{
	struct world *world = *state;
	struct ob_batch *batch;

	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 5, "orders", NULL);
	assert_int_equal(world_fetch(world, 0)->count, 5);
	world_settle(world, 0, 2);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_acquire(world, 0, "s");
	batch = world_fetch(world, 0);
	assert_string_equal(world_ids(batch), "m3 m4 m5");
	assert_int_equal(batch->rows[0].ordinal, 1);
}

static void
what_is_settled_outlives_the_process(void **state)
{
	struct world *world = *state;

	if ((world->kind->ops->capabilities & OB_STORE_DURABLE) == 0)
		OB_SKIP("the store does not declare OB_STORE_DURABLE");
	world_subscribe(world, "s", "*");
	world_acquire(world, 0, "s");
	world_append_many(world, 4, "orders", "k");
	world_fetch(world, 0);
	world_settle(world, 0, 3);
	expect_ok(world, world->kind->ops->release(world->at[0].store, &world->error));
	world_close(world, 0);
	world_append(world, "orders", "k", "later");
	world_open(world, 0);
	world_acquire(world, 0, "s");
	assert_string_equal(world_ids(world_fetch(world, 0)), "m4 m5");
}

const struct store_test store_reading_tests[] = {
    {"rows come in commit order with ordinals from 1",
     rows_come_in_commit_order_with_ordinals_from_1},
    {"ordinals have no hole over many fetches", ordinals_have_no_hole_over_many_fetches},
    {"a fetch keeps to its limits", a_fetch_keeps_to_its_limits},
    {"only matching topics are given", only_matching_topics_are_given},
    {"rows read past are saved by a settle of nothing",
     rows_read_past_are_saved_by_a_settle_of_nothing},
    {"a long stretch of no interest is read past", a_long_stretch_of_no_interest_is_read_past},
    {"a subscription may begin behind what is there",
     a_subscription_may_begin_behind_what_is_there},
    {"subscriptions do not touch each other", subscriptions_do_not_touch_each_other},
    {"the order by topic and key gives other lanes", the_order_by_topic_and_key_gives_other_lanes},
    {"bytes arrive as they were written", bytes_arrive_as_they_were_written},
    {"a payload at the limit is whole and one above is not read",
     a_payload_at_the_limit_is_whole_and_one_above_is_not_read},
    {"an oversize row dies and can be retried under a higher limit",
     an_oversize_row_dies_and_can_be_retried_under_a_higher_limit},
    {"what was not settled is read again by the next owner",
     what_was_not_settled_is_read_again_by_the_next_owner},
    {"what is settled outlives the process", what_is_settled_outlives_the_process},
    {NULL, NULL},
};
