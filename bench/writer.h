/* What bench-writer needs of a database. A failure ends the program with what the database says. */
#ifndef BENCH_WRITER_H
#define BENCH_WRITER_H

#include <stddef.h>
#include <stdint.h>

struct writer_message {
	char id[48], key[32];
	const char *payload;
	size_t payload_size;
};

struct writer_driver {
	const char *scheme;
	/* `synchronous` is the database's own word for how durable a commit is. */
	void (*open)(const char *url, const char *synchronous);
	/* One transaction, committed when it returns: changes the account, then inserts messages of topic "bench". */
	void (*transaction)(uint64_t account, const struct writer_message *messages,
			    uint32_t count);
	void (*close)(void);
};

extern const struct writer_driver writer_sqlite;
extern const struct writer_driver writer_postgres;

#endif
