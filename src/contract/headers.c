#include "headers.h"

#include <stdint.h>
#include <string.h>

#include "hex.h"

void
ob_headers_start(struct ob_headers_reader *reader, struct ob_bytes headers, struct ob_buf *scratch)
{
	const char *at = headers.data;

	*reader = (struct ob_headers_reader){
	    .at = at,
	    .end = at == NULL ? at : at + headers.size,
	    .scratch = scratch,
	};
}

static bool
fail(struct ob_headers_reader *r, const char *problem)
{
	r->problem = problem;
	r->at = r->end;
	return false;
}

static void
skip_space(struct ob_headers_reader *r)
{
	while (r->at < r->end &&
	       (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static bool
take(struct ob_headers_reader *r, char wanted)
{
	if (r->at == r->end || *r->at != wanted)
		return false;
	r->at++;
	return true;
}

static bool
read_hex4(struct ob_headers_reader *r, uint32_t *unit)
{
	*unit = 0;
	if (r->end - r->at < 4)
		return false;
	for (int i = 0; i < 4; i++) {
		int digit = ob_hex_digit(*r->at++);

		if (digit < 0)
			return false;
		*unit = *unit << 4 | (uint32_t)digit;
	}
	return true;
}

static bool
append_utf8(struct ob_buf *buf, uint32_t c)
{
	char bytes[4];
	size_t size = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};

	for (size_t i = size; i-- > 1; c >>= 6)
		bytes[i] = (char)(0x80 | (c & 0x3f));
	bytes[0] = (char)(lead[size] | c);
	return ob_buf_append(buf, bytes, size);
}

/* \uXXXX, the "\u" read; a character beyond U+FFFF is written as a pair of surrogates (RFC 8259,
 * 7). */
static bool
read_unicode(struct ob_headers_reader *r)
{
	uint32_t c, low;

	if (!read_hex4(r, &c))
		return fail(r, "headers: \\u without four hex digits");
	if (c >= 0xd800 && c <= 0xdfff) {
		if (c >= 0xdc00 || !take(r, '\\') || !take(r, 'u') || !read_hex4(r, &low) ||
		    low < 0xdc00 || low > 0xdfff)
			return fail(r, "headers: half a surrogate pair");
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	if (!append_utf8(r->scratch, c))
		return fail(r, "headers: too large");
	return true;
}

static bool
read_escape(struct ob_headers_reader *r)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;

	if (r->at == r->end)
		return fail(r, "headers: a string does not end");
	if (take(r, 'u'))
		return read_unicode(r);
	found = memchr(from, *r->at, sizeof(from) - 1);
	if (found == NULL)
		return fail(r, "headers: an unknown escape");
	r->at++;
	if (!ob_buf_append_byte(r->scratch, to[found - from]))
		return fail(r, "headers: too large");
	return true;
}

/* A string whose opening quote was read. As long as it holds no escape it is used where it stands.
 */
static bool
read_string(struct ob_headers_reader *r, struct ob_bytes *out, size_t *scratch_at)
{
	const char *start = r->at, *piece = r->at;
	bool decoded = false;

	*scratch_at = r->scratch->size;
	for (;; r->at++) {
		while (r->at < r->end && *r->at != '"' && *r->at != '\\' &&
		       (unsigned char)*r->at >= 0x20)
			r->at++;
		if (r->at == r->end)
			return fail(r, "headers: a string does not end");
		if (*r->at == '"')
			break;
		if (*r->at != '\\')
			return fail(r, "headers: a control character in a string");
		decoded = true;
		if (!ob_buf_append(r->scratch, piece, (size_t)(r->at - piece)))
			return fail(r, "headers: too large");
		r->at++;
		if (!read_escape(r))
			return false;
		piece = r->at--;
	}
	*out = (struct ob_bytes){start, (size_t)(r->at - start)};
	if (decoded) {
		if (!ob_buf_append(r->scratch, piece, (size_t)(r->at - piece)))
			return fail(r, "headers: too large");
		*out = (struct ob_bytes){NULL, r->scratch->size - *scratch_at};
	}
	r->at++;
	return true;
}

/* The scratch may move while it grows, so decoded strings get their address when both are read. */
static void
settle_string(const struct ob_headers_reader *r, struct ob_bytes *string, size_t scratch_at)
{
	if (string->data == NULL)
		string->data = ob_buf_text(r->scratch) + scratch_at;
}

static bool
read_member(struct ob_headers_reader *r, struct ob_header *header)
{
	size_t name_at, value_at;

	ob_buf_reset(r->scratch);
	if (!take(r, '"'))
		return fail(r, "headers: a member has no name in quotes");
	if (!read_string(r, &header->name, &name_at))
		return false;
	skip_space(r);
	if (!take(r, ':'))
		return fail(r, "headers: no colon behind a name");
	skip_space(r);
	if (!take(r, '"'))
		return fail(r, "headers: a value is not a string");
	if (!read_string(r, &header->value, &value_at))
		return false;
	settle_string(r, &header->name, name_at);
	settle_string(r, &header->value, value_at);
	return true;
}

static bool
read_end(struct ob_headers_reader *r)
{
	skip_space(r);
	if (r->at != r->end)
		return fail(r, "headers: something behind the object");
	return false;
}

bool
ob_headers_next(struct ob_headers_reader *reader, struct ob_header *header)
{
	if (reader->at == reader->end &&
	    (reader->begun || reader->at == NULL || reader->problem != NULL))
		return reader->begun && reader->problem == NULL
			   ? fail(reader, "headers: the object does not end")
			   : false;
	skip_space(reader);
	if (!reader->begun) {
		if (!take(reader, '{'))
			return fail(reader, "headers: not a JSON object");
		reader->begun = true;
		skip_space(reader);
		if (take(reader, '}'))
			goto end;
	} else {
		if (take(reader, '}'))
			goto end;
		if (!take(reader, ','))
			return fail(reader, "headers: no comma between members");
		skip_space(reader);
	}
	return read_member(reader, header);
end:
	reader->begun = false;
	read_end(reader);
	/* From here on there is nothing more, as with absent headers. */
	reader->at = reader->end = NULL;
	return false;
}
