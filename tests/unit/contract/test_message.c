/* Lanes, whose values are frozen, what a row counts, and the names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <outbox/batch.h>
#include <outbox/sink.h>

#define BYTES(text)                    \
	{                              \
		text, sizeof(text) - 1 \
	}

/*
 * Stores keep these values: a parked key and the range of a shard are written down by them. A
 * change here strands what is parked, so it needs a new version of the schema and a migration. The
 * first four by_key are vectors of the paper's own reference code.
 */
static void
lanes_are_frozen(void **state)
{
	static const struct {
		struct ob_bytes topic, key;
		uint64_t by_key, by_both;
	} vectors[] = {
	    {BYTES("orders"), BYTES(""), UINT64_C(0x726fdb47dd0e0e31),
	     UINT64_C(0x72d76faec6364e9e)},
	    {BYTES("orders"), BYTES("\0"), UINT64_C(0x74f839c593dc67fd),
	     UINT64_C(0x112fe47d772ef637)},
	    {BYTES("orders"), BYTES("\0\1"), UINT64_C(0x0d6c8009d9a94f5a),
	     UINT64_C(0x29fe2879dd3a19ba)},
	    {BYTES("orders"), BYTES("\0\1\2\3\4\5\6\7\10\11\12\13\14\15\16"),
	     UINT64_C(0xa129ca6149be45e5), UINT64_C(0x5a41cdd6deb76d8f)},
	    {BYTES("orders"), BYTES("customer-1"), UINT64_C(0x1a029777c1e2571c),
	     UINT64_C(0x6ab350e2c8b77372)},
	    {BYTES("o"), BYTES("rders\0customer-1"), UINT64_C(0x6d446ee3e69405fb),
	     UINT64_C(0xf4e88af38db96deb)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		struct ob_message message = {.topic = vectors[i].topic, .key = vectors[i].key};

		assert_true(ob_lane_of(&message, OB_ORDER_BY_KEY) == vectors[i].by_key);
		assert_true(ob_lane_of(&message, OB_ORDER_BY_TOPIC_AND_KEY) == vectors[i].by_both);
	}
}

/* Topic and key are hashed as if they stood together with a NUL between them, wherever the word
 * bounds fall. */
static void
topic_and_key_hash_as_one(void **state)
{
	static const char text[] = "0123456789012345678901234567890";

	(void)state;
	for (size_t topic = 0; topic < 20; topic++)
		for (size_t key = 0; key < 20; key++) {
			char joined[64];
			struct ob_message both = {.topic = {text, topic}, .key = {text + 3, key}};
			struct ob_message one = {.key = {joined, topic + 1 + key}};

			memcpy(joined, text, topic);
			joined[topic] = '\0';
			memcpy(joined + topic + 1, text + 3, key);
			assert_true(ob_lane_of(&both, OB_ORDER_BY_TOPIC_AND_KEY) ==
				    ob_lane_of(&one, OB_ORDER_BY_KEY));
		}
}

static void
no_key_has_no_lane(void **state)
{
	struct ob_message message = {.topic = BYTES("orders")};

	(void)state;
	assert_true(ob_lane_of(&message, OB_ORDER_BY_KEY) == 0);
	assert_true(ob_lane_of(&message, OB_ORDER_BY_TOPIC_AND_KEY) == 0);
}

/* By the key whatever the order is by; the vectors are those above, modulo. */
static void
shards_are_frozen(void **state)
{
	struct ob_message message = {.topic = BYTES("orders"), .key = BYTES("customer-1")};
	struct ob_message other = {.topic = BYTES("bills"), .key = BYTES("customer-1")};
	struct ob_message keyless = {.id = BYTES("customer-1")};
	uint64_t hash = UINT64_C(0x1a029777c1e2571c);

	(void)state;
	for (uint32_t shards = 2; shards <= 256; shards++) {
		assert_int_equal(ob_shard_of(&message, shards), hash % shards);
		assert_int_equal(ob_shard_of(&other, shards), hash % shards);
		assert_int_equal(ob_shard_of(&keyless, shards), hash % shards);
	}
	assert_int_equal(ob_shard_of(&message, 1), 0);
	assert_int_equal(ob_shard_of(&message, 0), 0);
}

static void
a_row_counts_its_fields(void **state)
{
	struct ob_message message = {
	    .id = BYTES("12"), .topic = BYTES("345"), .payload = BYTES("6789")};

	(void)state;
	assert_int_equal(ob_row_bytes(&message), 9 + OB_ROW_OVERHEAD);
	message.headers = (struct ob_bytes)BYTES("{}");
	assert_int_equal(ob_row_bytes(&message), 11 + OB_ROW_OVERHEAD);
	message.payload.size = SIZE_MAX;
	assert_true(ob_row_bytes(&message) == UINT32_MAX);
}

static void
fates_have_names(void **state)
{
	(void)state;
	assert_string_equal(ob_fate_name(OB_FATE_UNKNOWN), "unknown");
	assert_string_equal(ob_fate_name(OB_FATE_SENT), "sent");
	assert_string_equal(ob_fate_name(OB_FATE_RETRY), "retry");
	assert_string_equal(ob_fate_name(OB_FATE_REJECT), "reject");
	assert_string_equal(ob_fate_name(OB_FATE_DOWN), "down");
	assert_string_equal(ob_fate_name(OB_FATE_BLOCKED), "blocked");
	assert_string_equal(ob_fate_name(OB_FATE_RETURNED), "returned");
	assert_string_equal(ob_fate_name((enum ob_fate)99), "invalid");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(lanes_are_frozen),        cmocka_unit_test(topic_and_key_hash_as_one),
	    cmocka_unit_test(no_key_has_no_lane),      cmocka_unit_test(shards_are_frozen),
	    cmocka_unit_test(a_row_counts_its_fields), cmocka_unit_test(fates_have_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
