/*
 * A relay inside a program that answers later: the relay's thread only puts messages into a queue, threads of the program do the work.
 *
 *	cc embed_threads.c -loutbox -pthread -o embed_threads
 *	./embed_threads sqlite:shop.db
 *
 * Of one key only one message is out at a time, so the threads need not care about order. See embed.c for the
 * simpler form, in which the function answers at once.
 */
#include <outbox/relay.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS 4

/* What is left of a message once the call that brought it is over: our copy, and the ticket to answer by. */
struct job {
	struct ob_callback_ticket *ticket;
	struct job *next;
	size_t size;
	char payload[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct job *first, **last = &first; /* oldest first */
static bool closed;

/* On the relay's thread. The queue needs no limit of its own: the option in-flight of the sink is one. */
static void
take(void *context, const struct ob_callback_delivery *delivery, struct ob_callback_ticket *ticket)
{
	const struct ob_bytes *payload = &delivery->message->payload;
	struct job *job = malloc(sizeof(*job) + payload->size);

	(void)context;
	if (job == NULL) {
		ob_callback_answer(ticket, OB_FATE_RETRY, "no_memory", NULL, 0);
		return;
	}
	job->ticket = ticket;
	job->size = payload->size;
	if (payload->size > 0)
		memcpy(job->payload, payload->data, payload->size);
	pthread_mutex_lock(&lock);
	job->next = NULL;
	*last = job;
	last = &job->next;
	pthread_cond_signal(&changed);
	pthread_mutex_unlock(&lock);
}

/* Returns NULL once there will be no more. */
static struct job *
next_job(void)
{
	struct job *job;

	pthread_mutex_lock(&lock);
	while (first == NULL && !closed)
		pthread_cond_wait(&changed, &lock);
	job = first;
	if (job != NULL)
		first = job->next;
	if (first == NULL)
		last = &first;
	pthread_mutex_unlock(&lock);
	return job;
}

static void *
work(void *context)
{
	unsigned long *delivered = context;
	struct job *job;

	while ((job = next_job()) != NULL) {
		/* Here the work is done. If the answer comes too late the message comes again, under the same id. */
		printf("%.*s\n", (int)job->size, job->payload);
		if (ob_callback_answer(job->ticket, OB_FATE_SENT, NULL, NULL, 0))
			(*delivered)++;
		free(job);
	}
	return NULL;
}

static int
run(const char *database, struct ob_error *error)
{
	struct ob_relay_config config = {.until_idle = true};
	struct ob_relay_subscription shipping;
	struct ob_relay *relay = NULL;
	int code;

	ob_relay_subscription_defaults(&shipping);
	shipping.name = "shipping";
	shipping.store_url = database;
	shipping.sink_url = "callback:";
	shipping.callback = (struct ob_callback){.take = take};
	code = ob_relay_new(&config, &relay, error);
	if (code == OB_OK)
		code = ob_relay_add(relay, &shipping, error);
	if (code == OB_OK)
		code = ob_relay_start(relay, error);
	if (code == OB_OK)
		code = ob_relay_wait(relay, -1, error);
	ob_relay_free(relay);
	return code;
}

int
main(int argc, char **argv)
{
	unsigned long delivered[WORKERS] = {0}, all = 0;
	pthread_t workers[WORKERS];
	struct ob_error error = {0};
	int started = 0, code;

	if (argc != 2) {
		fprintf(stderr, "usage: embed_threads DATABASE\n");
		return 2;
	}
	while (started < WORKERS &&
	       pthread_create(&workers[started], NULL, work, &delivered[started]) == 0)
		started++;
	code = started > 0 ? run(argv[1], &error) : ob_error_set(&error, OB_LIMIT, "no threads");
	pthread_mutex_lock(&lock);
	closed = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < started; i++) {
		pthread_join(workers[i], NULL);
		all += delivered[i];
	}
	if (code != OB_OK) {
		fprintf(stderr, "embed_threads: %s\n", error.text);
		return 1;
	}
	fprintf(stderr, "%lu delivered\n", all);
	return 0;
}
