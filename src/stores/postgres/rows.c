/*
 * Messages as the server sends them: a COPY in binary, whose rows cost the least on both sides. The format is
 * https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format": a count of fields, then of each field its
 * size (-1: NULL) and its bytes, in network order.
 */
#include <endian.h>
#include <string.h>

#include "postgres_store.h"

/* Of a time stamp from PostgreSQL's beginning, 2000-01-01, in seconds since 1970. */
#define EPOCH_US INT64_C(946684800000000)

static const char signature[] = "PGCOPY\n\377\r\n";
#define SIGNATURE_SIZE 11
#define HEADER_SIZE    19
#define UUID_SIZE      16
#define UUID_TEXT_SIZE 36

enum {
	FIELD_NUMBER,
	FIELD_TOPIC,
	FIELD_ID,
	FIELD_KEY,
	FIELD_TYPE,
	FIELD_CONTENT_TYPE,
	FIELD_HEADERS,
	FIELD_CREATED_AT,
	FIELD_DELIVER_AFTER,
	FIELD_PAYLOAD_SIZE,
	FIELD_PAYLOAD,
	FIELD_PAYLOAD_BYTES,
	FIELD_COUNT
};

void
ob_postgres_message_columns(struct postgres_store *store, const char *number, const char *matches,
			    int64_t inline_max, const char *deliver_after)
{
	long long most = inline_max;

	/* Whether a message is of interest is for the server to say, once: its topic comes only then. */
	if (matches == NULL)
		ob_postgres_sql(
		    store,
		    "%s, m.topic, m.id, m.partition_key, m.type, m.content_type, m.headers,"
		    " m.created_at, %s, CASE WHEN octet_length(m.payload) > %lld OR"
		    " octet_length(m.payload_bytes) > %lld THEN"
		    " coalesce(octet_length(m.payload), octet_length(m.payload_bytes)) END,"
		    " CASE WHEN octet_length(m.payload) <= %lld THEN m.payload END,"
		    " CASE WHEN octet_length(m.payload_bytes) <= %lld THEN m.payload_bytes END",
		    number, deliver_after, most, most, most, most);
	else
		ob_postgres_sql(
		    store,
		    "%s, CASE WHEN %s THEN m.topic END, m.id, m.partition_key, m.type, m.content_type,"
		    " CASE WHEN %s THEN m.headers END, m.created_at, %s,"
		    " CASE WHEN octet_length(m.payload) > %lld OR octet_length(m.payload_bytes) > %lld THEN"
		    " coalesce(octet_length(m.payload), octet_length(m.payload_bytes)) END,"
		    " CASE WHEN octet_length(m.payload) <= %lld AND %s THEN m.payload END,"
		    " CASE WHEN octet_length(m.payload_bytes) <= %lld AND %s THEN m.payload_bytes END",
		    number, matches, matches, deliver_after, most, most, most, matches, most,
		    matches);
}

static int64_t
number_of(struct ob_bytes bytes, int64_t if_none)
{
	uint64_t wide;
	uint32_t narrow;

	if (bytes.data == NULL)
		return if_none;
	if (bytes.size == sizeof(narrow)) {
		memcpy(&narrow, bytes.data, sizeof(narrow));
		return (int32_t)be32toh(narrow);
	}
	if (bytes.size != sizeof(wide))
		return if_none;
	memcpy(&wide, bytes.data, sizeof(wide));
	return (int64_t)be64toh(wide);
}

static bool
fields_read(const char *at, const char *end, struct ob_bytes fields[FIELD_COUNT])
{
	for (size_t i = 0; i < FIELD_COUNT; i++) {
		uint32_t raw;
		int32_t size;

		if (end - at < (ptrdiff_t)sizeof(raw))
			return false;
		memcpy(&raw, at, sizeof(raw));
		size = (int32_t)be32toh(raw);
		at += sizeof(raw);
		fields[i] = (struct ob_bytes){0};
		if (size < 0)
			continue;
		if (size > end - at)
			return false;
		fields[i] = (struct ob_bytes){.data = at, .size = (size_t)size};
		at += size;
	}
	return at == end;
}

/* jsonb is sent as its version, which is 1, and its text. */
static bool
headers_strip(struct ob_bytes *headers)
{
	const char *bytes = headers->data;

	if (bytes == NULL)
		return true;
	if (headers->size == 0 || *bytes != 1)
		return false;
	*headers = (struct ob_bytes){.data = bytes + 1, .size = headers->size - 1};
	return true;
}

bool
ob_postgres_row_read(struct postgres_row *row, const char *data, size_t size, bool *end)
{
	struct ob_bytes fields[FIELD_COUNT];
	const char *at = data;
	uint16_t raw;

	/* The header comes with the first row. */
	if (size >= HEADER_SIZE && memcmp(at, signature, SIGNATURE_SIZE) == 0)
		at += HEADER_SIZE;
	if (data + size - at < (ptrdiff_t)sizeof(raw))
		return false;
	memcpy(&raw, at, sizeof(raw));
	at += sizeof(raw);
	*end = (int16_t)be16toh(raw) == -1;
	if (*end)
		return true;
	if (be16toh(raw) != FIELD_COUNT || !fields_read(at, data + size, fields) ||
	    fields[FIELD_ID].size != UUID_SIZE || !headers_strip(&fields[FIELD_HEADERS]))
		return false;
	row->position = number_of(fields[FIELD_NUMBER], 0);
	row->matches = fields[FIELD_TOPIC].data != NULL;
	row->scheduled = fields[FIELD_DELIVER_AFTER].data != NULL;
	row->deliver_after_us = number_of(fields[FIELD_DELIVER_AFTER], 0) + EPOCH_US;
	row->payload_bytes = number_of(fields[FIELD_PAYLOAD_SIZE], -1);
	row->message = (struct ob_message){
	    .id = fields[FIELD_ID],
	    .topic = fields[FIELD_TOPIC],
	    .key = fields[FIELD_KEY],
	    .type = fields[FIELD_TYPE],
	    .payload = fields[FIELD_PAYLOAD].data != NULL ? fields[FIELD_PAYLOAD]
							  : fields[FIELD_PAYLOAD_BYTES],
	    .content_type = fields[FIELD_CONTENT_TYPE],
	    .headers = fields[FIELD_HEADERS],
	    .created_at_us = number_of(fields[FIELD_CREATED_AT], 0) + EPOCH_US,
	};
	return true;
}

static void
uuid_format(char out[UUID_TEXT_SIZE], const unsigned char bytes[UUID_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < UUID_SIZE; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*out++ = '-';
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
}

/* From a pointer into the server's row to the same place in its copy. */
static struct ob_bytes
moved(struct ob_bytes bytes, const char *from, const char *to)
{
	if (bytes.data != NULL)
		bytes.data = to + ((const char *)bytes.data - from);
	return bytes;
}

bool
ob_postgres_message_copy(struct ob_batch *batch, const struct postgres_row *row, const char *data,
			 size_t size, struct ob_message *message)
{
	const struct ob_message *from = &row->message;
	char id[UUID_TEXT_SIZE];
	struct ob_bytes copy;

	uuid_format(id, from->id.data);
	if (!ob_batch_copy(batch, id, sizeof(id), &message->id) ||
	    !ob_batch_copy(batch, data, size, &copy))
		return false;
	message->topic = moved(from->topic, data, copy.data);
	message->key = moved(from->key, data, copy.data);
	message->type = moved(from->type, data, copy.data);
	message->payload = moved(from->payload, data, copy.data);
	message->content_type = moved(from->content_type, data, copy.data);
	message->headers = moved(from->headers, data, copy.data);
	message->created_at_us = from->created_at_us;
	return true;
}

uint32_t
ob_postgres_row_bytes(const struct postgres_row *row)
{
	return ob_row_bytes(&row->message) + UUID_TEXT_SIZE - UUID_SIZE;
}
