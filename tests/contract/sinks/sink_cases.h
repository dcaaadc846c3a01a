/* What the files of the suite share: the rig of the case that runs, and the cases that stand apart. */
#ifndef OB_TESTS_SINK_CASES_H
#define OB_TESTS_SINK_CASES_H

#include "rig.h"

extern struct rig sink_case_rig;

/* Starts a recipient and opens the sink; the state is the adapter. */
void sink_case_start(void **state);
struct ob_sink_limits sink_case_limits(void);

/* sink_failures.c */
void cancel_returns_every_ticket(void **state);
void a_failed_message_is_followed_as_declared(void **state);
void a_recipient_that_is_down_is_told(void **state);
void a_recipient_that_hangs_is_given_up(void **state);

#endif
