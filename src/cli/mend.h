/* What a person should look at when a recipient does not take a message, by the reason's code. */
#ifndef OB_CLI_MEND_H
#define OB_CLI_MEND_H

/* NULL: nothing is known beyond what the reason says. */
const char *ob_mend_of(const char *code);

#endif
