#include "turn.h"

#include <pthread.h>

static struct {
	pthread_mutex_t lock;
	struct ob_turn *first;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

void
ob_turn_open(struct ob_turn *turn, int fd)
{
	*turn = (struct ob_turn){.fd = fd, .is_open = true};
	pthread_mutex_lock(&all.lock);
	turn->next = all.first;
	all.first = turn;
	pthread_mutex_unlock(&all.lock);
}

void
ob_turn_close(struct ob_turn *turn)
{
	struct ob_turn **at = &all.first;

	if (!turn->is_open)
		return;
	pthread_mutex_lock(&all.lock);
	while (*at != turn)
		at = &(*at)->next;
	*at = turn->next;
	pthread_mutex_unlock(&all.lock);
	*turn = (struct ob_turn){0};
}

/* Under the lock. */
static bool
is_free(const struct ob_turn *turn)
{
	for (const struct ob_turn *it = all.first; it != NULL; it = it->next)
		if (it != turn && it->fd == turn->fd &&
		    (it->is_ours || (it->waits && !turn->waits)))
			return false;
	return true;
}

bool
ob_turn_take(struct ob_turn *turn)
{
	bool is_ours;

	pthread_mutex_lock(&all.lock);
	if (!turn->is_ours) {
		turn->is_ours = is_free(turn);
		turn->waits = !turn->is_ours;
	}
	is_ours = turn->is_ours;
	pthread_mutex_unlock(&all.lock);
	return is_ours;
}

void
ob_turn_end(struct ob_turn *turn)
{
	pthread_mutex_lock(&all.lock);
	turn->is_ours = turn->waits = false;
	pthread_mutex_unlock(&all.lock);
}
