/* The insides of a person's change, shared by change.c and replay.c. */
#ifndef OB_SQLITE_CHANGE_H
#define OB_SQLITE_CHANGE_H

#include "sqlite_store.h"

struct sqlite_changing {
	struct sqlite_store *store;
	const struct ob_change *change;
	int64_t now_ms;
	int64_t from; /* REPLAY, ADOPT: of the message to go on with */
	uint64_t count;
};

/* Runs a statement with up to three numbers (?2 to ?4) behind the subscription (?1). */
int ob_sqlite_change_run(struct sqlite_changing *c, const char *sql, int64_t a, int64_t b,
			 int64_t d, struct ob_error *error);
/* One number of a statement with a text (?1) and a number (?2); `if_none` where there is no row, or NULL. */
int ob_sqlite_change_number(struct sqlite_changing *c, const char *sql, const char *text, int64_t a,
			    int64_t if_none, int64_t *value, struct ob_error *error);
/* Every change does that, in the transaction that makes it. */
int ob_sqlite_change_epoch(struct sqlite_changing *c, struct ob_error *error);

/* ---- replay.c ---- */

/* Before the transaction: what takes long. `*done`: there is nothing to write. */
int ob_sqlite_replay_look(struct sqlite_changing *c, bool *done, struct ob_error *error);
int ob_sqlite_replay(struct sqlite_changing *c, struct ob_error *error);
/* Says that this database is meant, to the relay of one subscription or of each. */
int ob_sqlite_adopt(struct sqlite_changing *c, struct ob_error *error);

#endif
