/* Why a message failed, in the form that receipts and stores carry it. */
#ifndef OB_CONTRACT_REASON_H
#define OB_CONTRACT_REASON_H

#include <outbox/api.h>
#include <outbox/store.h>

struct ob_reason {
	char code
	    [OB_REASON_CODE_MAX]; /* lower-case letters, digits and '_'; "" when there is none */
	char
	    text[OB_REASON_TEXT_MAX]; /* UTF-8 without control characters, cut where it has to be */
};

/* Takes a foreign code, or `otherwise` when it is none. */
void ob_reason_set_code(struct ob_reason *reason, const char *code, const char *otherwise);
/* Takes foreign bytes: each byte that is a control character, or not UTF-8, becomes '?'. */
void ob_reason_set_text(struct ob_reason *reason, const void *text, size_t size);
/* The same of what printf would print. */
void ob_reason_print(struct ob_reason *reason, const char *format, ...) OB_PRINTF(2, 3);

#endif
