/*
 * The header fields of one request or record: pairs of a name and a value, in the order in which they
 * were added.
 *
 * Each stands in one buffer as "name: value" and a NUL, the form that HTTP and NATS write; the others take
 * the two parts. Once the buffer has grown to the usual size nothing is allocated any more. What an
 * application chose is checked here (ob_fields_add_foreign), so that nothing it writes can end a line,
 * begin another one, or pose as a field of ours.
 */
#ifndef OB_SINKS_FIELDS_H
#define OB_SINKS_FIELDS_H

#include <outbox/message.h>
#include <stdbool.h>
#include <stdint.h>

#include "buf.h"

#define OB_FIELDS_MAX      100 /* what common servers take at most (Apache httpd's default) */
#define OB_FIELDS_SIZE_MAX (256 * 1024)

struct ob_field {
	uint32_t at;         /* where its line begins in `text` */
	uint32_t name_size;  /* the value begins at `at` + `name_size` + 2 */
	uint32_t value_size; /* behind it stands a NUL */
};

struct ob_fields {
	struct ob_buf text;
	struct ob_field items[OB_FIELDS_MAX];
	uint32_t count;
	bool full; /* one was refused: too many, too large, or no memory */
};

void ob_fields_init(struct ob_fields *fields);
/* Empty again, the memory kept. */
void ob_fields_reset(struct ob_fields *fields);
/* Safe on a zeroed struct. */
void ob_fields_free(struct ob_fields *fields);

/* Adds one whose name is `prefix` and `name`, with the value as it is. Only for values that are known to be
 * clean. What does not fit sets `full`, which is checked once at the end. */
void ob_fields_add(struct ob_fields *fields, const char *prefix, const char *name,
		   struct ob_bytes value);
/* The same with the value percent-encoded (CloudEvents HTTP binding 1.0.2, 3.1.3.2). */
void ob_fields_add_encoded(struct ob_fields *fields, const char *prefix, const char *name,
			   struct ob_bytes value);

/*
 * Adds one that an application wrote. Returns NULL, or what is wrong with it, for a person: the name is no
 * token (RFC 9110, 5.6.2) or reserved (it frames the request, or is ours), or the value holds a control
 * character. Bytes beyond ASCII are let through as they are (obs-text).
 */
const char *ob_fields_add_foreign(struct ob_fields *fields, struct ob_bytes name,
				  struct ob_bytes value);

/* Whether a field of these has this name, in whatever case. */
bool ob_field_is(const struct ob_fields *fields, const struct ob_field *field, const char *name);
/* There is one of this name, in whatever case. */
bool ob_fields_have(const struct ob_fields *fields, const char *name);

/* What is wrong with a name or value that somebody chose, or NULL. */
const char *ob_field_name_problem(struct ob_bytes name);
const char *ob_field_value_problem(struct ob_bytes value);

/* The line "name: value" of the `index`-th one; valid until the fields change. */
static inline char *
ob_fields_line(const struct ob_fields *fields, uint32_t index)
{
	return fields->text.data + fields->items[index].at;
}

#endif
