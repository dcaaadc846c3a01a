#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <ctype.h>
#include <outbox/uuid.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PER_THREAD = 20000, THREADS = 2 };

struct ids {
	char (*texts)[OB_UUID_TEXT_SIZE];
	size_t count;
};

static void *
ids_make(void *argument)
{
	struct ids *ids = argument;

	for (size_t i = 0; i < ids->count; i++)
		if (ob_uuid7(ids->texts[i], NULL) != OB_OK)
			return argument;
	return NULL;
}

static int
text_compare(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
test_has_the_form_of_rfc_9562(void **state)
{
	char id[OB_UUID_TEXT_SIZE];
	char ms_text[13];
	struct timespec now;

	(void)state;
	assert_int_equal(ob_uuid7(id, NULL), OB_OK);
	(void)clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(strlen(id), 36);
	for (int i = 0; i < 36; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23)
			assert_int_equal(id[i], '-');
		else
			assert_true(isdigit((unsigned char)id[i]) ||
				    (id[i] >= 'a' && id[i] <= 'f'));
	}
	assert_int_equal(id[14], '7');
	assert_non_null(strchr("89ab", id[19]));

	memcpy(ms_text, id, 8);
	memcpy(ms_text + 8, id + 9, 4);
	ms_text[12] = '\0';
	long long ms = strtoll(ms_text, NULL, 16);
	long long now_ms = (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
	assert_in_range(now_ms - ms + 5000, 0, 10000);
}

static void
test_each_sorts_behind_the_one_before(void **state)
{
	char ids[2][OB_UUID_TEXT_SIZE];

	(void)state;
	assert_int_equal(ob_uuid7(ids[0], NULL), OB_OK);
	for (int i = 1; i < 100000; i++) {
		assert_int_equal(ob_uuid7(ids[i % 2], NULL), OB_OK);
		assert_true(strcmp(ids[i % 2], ids[(i + 1) % 2]) > 0);
	}
}

static void
test_threads_get_different_and_rising_ids(void **state)
{
	static char texts[THREADS * PER_THREAD][OB_UUID_TEXT_SIZE];
	struct ids ids[THREADS];
	pthread_t threads[THREADS];

	(void)state;
	for (size_t t = 0; t < THREADS; t++) {
		ids[t] = (struct ids){texts + t * PER_THREAD, PER_THREAD};
		assert_int_equal(pthread_create(&threads[t], NULL, ids_make, &ids[t]), 0);
	}
	for (size_t t = 0; t < THREADS; t++) {
		void *failed;

		assert_int_equal(pthread_join(threads[t], &failed), 0);
		assert_null(failed);
		for (size_t i = 1; i < PER_THREAD; i++)
			assert_true(strcmp(ids[t].texts[i - 1], ids[t].texts[i]) < 0);
	}
	qsort(texts, THREADS * PER_THREAD, sizeof(texts[0]), text_compare);
	for (size_t i = 1; i < THREADS * PER_THREAD; i++)
		assert_string_not_equal(texts[i - 1], texts[i]);
}

static void
test_a_forked_child_makes_other_ids(void **state)
{
	static char texts[2000][OB_UUID_TEXT_SIZE];
	struct ids ours = {texts, 1000};
	int pipe_fds[2];
	int status;

	(void)state;
	assert_int_equal(pipe(pipe_fds), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		bool ok = ids_make(&ours) == NULL;

		for (size_t i = 0; ok && i < 1000; i++)
			ok = write(pipe_fds[1], texts[i], OB_UUID_TEXT_SIZE) == OB_UUID_TEXT_SIZE;
		_exit(ok ? 0 : 1);
	}
	close(pipe_fds[1]);
	assert_null(ids_make(&ours));
	for (size_t got = 0; got < 1000 * OB_UUID_TEXT_SIZE;) {
		ssize_t n = read(pipe_fds[0], texts[1000] + got, 1000 * OB_UUID_TEXT_SIZE - got);

		assert_true(n > 0);
		got += (size_t)n;
	}
	close(pipe_fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	qsort(texts, 2000, sizeof(texts[0]), text_compare);
	for (size_t i = 1; i < 2000; i++)
		assert_string_not_equal(texts[i - 1], texts[i]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_has_the_form_of_rfc_9562),
	    cmocka_unit_test(test_each_sorts_behind_the_one_before),
	    cmocka_unit_test(test_threads_get_different_and_rising_ids),
	    cmocka_unit_test(test_a_forked_child_makes_other_ids),
	};

	return cmocka_run_group_tests_name("uuid", tests, NULL, NULL);
}
