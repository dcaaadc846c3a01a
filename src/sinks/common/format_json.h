/* The JSON format of CloudEvents 1.0, for format.c. */
#ifndef OB_SINKS_FORMAT_JSON_H
#define OB_SINKS_FORMAT_JSON_H

#include "format.h"

/* Appends one event to `out->text`. With `headers_too` the message's headers become extension attributes. False,
 * with a part possibly appended, when it cannot be: `code` and `problem` say why. */
bool ob_format_event(struct ob_formatted *out, const struct ob_format_config *config,
		     const struct ob_message *message, bool headers_too);

/* The content type of a payload, checked. */
bool ob_format_content_type(struct ob_formatted *out, const struct ob_format_config *config,
			    const struct ob_message *message, struct ob_bytes *type);

/* Sets why it cannot be sent; returns false. */
bool ob_format_refuse(struct ob_formatted *out, const char *code, const char *problem);

#endif
