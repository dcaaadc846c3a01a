/*
 * Opening and closing: the first of the URL's hosts that may be written, and what is to be known of it.
 *
 * libpq itself would walk the hosts, too, but its way of doing so without blocking knows no time-out for each, and
 * tells a standby from an unreachable host in words only. So we walk, and ask each server what it is.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "postgres_store.h"
#include "text.h"
#include "url.h"

#define PARAMETERS_MAX 24
#define NAME_SIZE_MAX  (2 * OB_URL_SIZE_MAX)
#define PASSWORD_PLACES \
	"; the password is taken from the URL, from PGPASSWORD, or from the file ~/.pgpass"

/* ---- the hosts of a URL ---- */

/* One of the URL's hosts; NULL: as libpq finds it. */
struct target {
	char *host, *hostaddr, *port;
};

struct targets {
	PQconninfoOption *options;
	const char *hosts, *hostaddrs, *ports;
	size_t count;
};

static size_t
items_count(const char *list)
{
	size_t count = 1;

	for (; *list != '\0'; list++)
		count += *list == ',';
	return count;
}

/* A copy of the item at `index` of a comma separated list; NULL when it is empty. */
static char *
item_copy(const char *list, size_t index)
{
	if (list == NULL)
		return NULL;
	for (; index > 0 && *list != '\0'; list++)
		index -= *list == ',';
	return strcspn(list, ",") == 0 ? NULL : strndup(list, strcspn(list, ","));
}

static void
target_get(const struct targets *targets, size_t index, struct target *target)
{
	const char *ports = targets->ports;

	target->host = item_copy(targets->hosts, index);
	target->hostaddr = item_copy(targets->hostaddrs, index);
	/* One port serves all hosts. */
	target->port = item_copy(ports, ports != NULL && items_count(ports) > 1 ? index : 0);
}

static void
target_free(struct target *target)
{
	free(target->host);
	free(target->hostaddr);
	free(target->port);
}

static int
targets_read(struct targets *targets, const struct postgres_store *store, struct ob_error *error)
{
	char *message = NULL;
	int code = OB_OK;

	*targets = (struct targets){.count = 1};
	targets->options = PQconninfoParse(store->url, &message);
	if (targets->options == NULL) {
		if (message != NULL)
			message[strcspn(message, "\n")] = '\0';
		code = ob_error_set(error, OB_CONFIG, "%s: %s", store->name,
				    message == NULL ? "out of memory" : message);
		PQfreemem(message);
		return code;
	}
	for (const PQconninfoOption *it = targets->options; it->keyword != NULL; it++) {
		if (it->val == NULL || *it->val == '\0')
			continue;
		if (strcmp(it->keyword, "host") == 0)
			targets->hosts = it->val;
		else if (strcmp(it->keyword, "hostaddr") == 0)
			targets->hostaddrs = it->val;
		else if (strcmp(it->keyword, "port") == 0)
			targets->ports = it->val;
	}
	if (targets->hostaddrs != NULL)
		targets->count = items_count(targets->hostaddrs);
	else if (targets->hosts != NULL)
		targets->count = items_count(targets->hosts);
	return OB_OK;
}

/* ---- one connection ---- */

/* The SQLSTATE in a message of libpq's in verbose form, "FATAL:  28P01: password ..."; NULL if there is none. */
static char *
sqlstate_find(char *text)
{
	for (char *at = strstr(text, ":  "); at != NULL; at = strstr(at + 1, ":  "))
		if (strspn(at + 3, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == 5 && at[8] == ':')
			return at + 3;
	return NULL;
}

/* Why libpq could not connect. */
static int
fail_connect(const struct postgres_store *store, PGconn *conn, struct ob_error *error)
{
	char text[OB_ERROR_TEXT_MAX], *sqlstate;
	enum ob_code code = OB_UNREACHABLE;
	const char *mend = "";

	ob_text_copy(text, sizeof(text), PQerrorMessage(conn));
	text[strcspn(text, "\n")] = '\0';
	sqlstate = sqlstate_find(text);
	if (sqlstate != NULL) {
		code = ob_postgres_code_of(sqlstate);
		if (ob_text_starts_with(sqlstate, "28P01"))
			mend = PASSWORD_PLACES;
		memmove(sqlstate, sqlstate + 7, strlen(sqlstate + 7) + 1);
	} else if (strstr(text, "no password supplied") != NULL) {
		code = OB_DENIED;
		mend = PASSWORD_PLACES;
	} else if (strstr(text, "does not support SSL") != NULL ||
		   strstr(text, "certificate") != NULL) {
		code = OB_CONFIG;
		mend = "; see sslmode and sslrootcert in the URL";
	} else if (ob_text_starts_with(text, "invalid ")) {
		code = OB_CONFIG; /* a value in the URL */
	}
	if (code == OB_NOT_FOUND)
		return ob_error_set(error, code, "%s: %s; make it with: createdb %s", store->name,
				    text, PQdb(conn));
	if (code != OB_DENIED && code != OB_CONFIG)
		code = OB_UNREACHABLE;
	return ob_error_set(error, code, "%s: %s%s", store->name,
			    text[0] == '\0' ? "no connection" : text, mend);
}

static int
connect_wait(const struct postgres_store *store, PGconn *conn, int64_t until_us,
	     struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK) {
		struct pollfd fd = {.fd = PQsocket(conn),
				    .events = status == PGRES_POLLING_READING ? POLLIN : POLLOUT};
		int64_t left_us = until_us - host->monotonic_us(host->context);

		if (left_us <= 0)
			return ob_error_set(error, OB_UNREACHABLE,
					    "%s: no connection to %s within %lld ms", store->name,
					    PQhost(conn),
					    (long long)store->options->connect_timeout_ms);
		if (poll(&fd, 1, (int)((left_us + 999) / 1000)) == 0)
			continue;
		status = PQconnectPoll(conn);
		if (status == PGRES_POLLING_FAILED)
			return fail_connect(store, conn, error);
	}
	return OB_OK;
}

static PGconn *
connect_start(const struct postgres_store *store, const struct target *target)
{
	const char *names[PARAMETERS_MAX] = {NULL}, *values[PARAMETERS_MAX] = {NULL};
	const struct {
		const char *name, *value;
	} parameters[] = {
	    {"fallback_application_name", "outbox"},
	    /* A peer that went away without a word is noticed after half a minute at most. */
	    {"keepalives_idle", "10"},
	    {"keepalives_interval", "5"},
	    {"keepalives_count", "3"},
	    {"tcp_user_timeout", "20000"},
	    {"dbname", store->url},
	    {"host", target->host},
	    {"hostaddr", target->hostaddr},
	    {"port", target->port},
	    {"client_encoding", "UTF8"},
	};
	size_t count = 0;

	/* What stands behind the URL wins over it, what stands before gives way. */
	for (size_t i = 0; i < sizeof(parameters) / sizeof(parameters[0]); i++) {
		if (parameters[i].value == NULL)
			continue;
		names[count] = parameters[i].name;
		values[count++] = parameters[i].value;
	}
	return PQconnectStartParams(names, values, 1);
}

int
ob_postgres_no_standby(struct postgres_store *store, struct ob_error *error)
{
	return ob_error_set(
	    error, OB_CONFIG,
	    "%s: standby-flushed needs a standby that commits can wait for; name it with: ALTER "
	    "SYSTEM SET synchronous_standby_names = 'ANY 1 (*)'",
	    store->name);
}

/* That it is the one that the options want. */
static int
options_check(struct postgres_store *store, const char *name, bool standbys, struct ob_error *error)
{
	const char *wanted = store->options->instance_name;

	if (wanted != NULL && strcmp(wanted, name) != 0)
		return ob_error_set(
		    error, OB_CONFIG,
		    "%s: instance-name demands the server '%s', this one is '%s'; it may be a copy. If not, "
		    "name it in its postgresql.conf: outbox.instance_name = '%s'",
		    store->name, wanted, name, wanted);
	if (store->options->standby_flushed && !standbys)
		return ob_postgres_no_standby(store, error);
	return OB_OK;
}

/* What the server is, and that it will do. */
static int
server_check(struct postgres_store *store, struct ob_error *error)
{
	struct postgres_answers answers = {0};
	const PGresult *row;
	bool standby, read_only;
	int code, version = PQserverVersion(store->conn);

	if (version < POSTGRES_VERSION_MIN)
		return ob_error_set(error, OB_CONFIG,
				    "%s: the server is PostgreSQL %d; 14 or later is needed",
				    store->name, version / 10000);
	ob_postgres_begin_read(store);
	ob_buf_append_text(
	    &store->sql,
	    "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on',"
	    " current_setting('server_encoding') = 'SQL_ASCII',"
	    " coalesce(nullif(current_setting('outbox.instance_name', true), ''), current_setting('cluster_name')),"
	    " current_setting('synchronous_standby_names') <> '';");
	code = ob_postgres_commit(store, "connect", &answers, error);
	if (code != OB_OK)
		return code;
	row = answers.items[0];
	standby = ob_postgres_bool(row, 0, 0);
	read_only = ob_postgres_bool(row, 0, 1);
	/* There each client's bytes go in and out as they are; as UTF-8 some of them could not be read. */
	if (ob_postgres_bool(row, 0, 2) && PQsetClientEncoding(store->conn, "SQL_ASCII") != 0)
		store->in_doubt = true;
	if (!store->read_only)
		code = options_check(store, ob_postgres_text(row, 0, 3),
				     ob_postgres_bool(row, 0, 4), error);
	ob_postgres_answers_free(&answers);
	if (store->read_only)
		return OB_OK;
	if (standby)
		return ob_error_set(
		    error, OB_UNREACHABLE,
		    "%s: %s is a standby, which cannot be written; name the primary, or all hosts as in "
		    "postgresql://a,b/shop",
		    store->name, PQhost(store->conn));
	if (read_only)
		return ob_error_set(error, OB_UNREACHABLE,
				    "%s: %s is read-only; allow writing with: ALTER ROLE %s SET "
				    "default_transaction_read_only = off",
				    store->name, PQhost(store->conn), PQuser(store->conn));
	return code;
}

static void
connection_close(struct postgres_store *store)
{
	PQfinish(store->conn);
	store->conn = NULL;
}

static int
connection_try(struct postgres_store *store, const struct target *target, struct ob_error *error)
{
	const struct ob_host *host = store->base.host;
	int64_t until_us =
	    host->monotonic_us(host->context) + store->options->connect_timeout_ms * 1000;
	PGconn *conn = connect_start(store, target);
	int code;

	if (conn == NULL)
		return ob_postgres_no_memory(store, error);
	/* The only way to the SQLSTATE of a failed connection. */
	PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
	code = PQstatus(conn) == CONNECTION_BAD ? fail_connect(store, conn, error)
						: connect_wait(store, conn, until_us, error);
	if (code != OB_OK) {
		PQfinish(conn);
		return code;
	}
	PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
	PQsetErrorContextVisibility(conn, PQSHOW_CONTEXT_NEVER);
	PQsetNoticeReceiver(conn, ob_postgres_notice, store);
	PQsetnonblocking(conn, 1);
	store->conn = conn;
	store->in_doubt = store->asleep = store->pooled = false;
	code = server_check(store, error);
	if (code != OB_OK)
		connection_close(store);
	/* A connection that breaks at once was none. */
	return code == OB_AGAIN ? OB_UNREACHABLE : code;
}

/* The first host that will do. What a person can mend is said rather than that another host cannot be reached. */
static int
connection_open(struct postgres_store *store, struct ob_error *error)
{
	struct ob_error first = {0}, latest = {0};
	struct targets targets;
	int code = targets_read(&targets, store, error);

	if (code != OB_OK)
		return code;
	for (size_t i = 0; i < targets.count; i++) {
		struct target target;

		target_get(&targets, i, &target);
		code = connection_try(store, &target, &latest);
		target_free(&target);
		if (code == OB_OK)
			break;
		latest.code = (enum ob_code)code;
		if (i == 0 || (first.code == OB_UNREACHABLE && code != OB_UNREACHABLE))
			first = latest;
	}
	PQconninfoFree(targets.options);
	if (code == OB_OK)
		return OB_OK;
	if (error != NULL)
		*error = first;
	return (int)first.code;
}

/* ---- the store ---- */

static int
name_make(struct postgres_store *store, struct ob_error *error)
{
	struct ob_buf name;

	ob_buf_init(&name, NAME_SIZE_MAX);
	ob_url_redact(&name, store->url);
	store->name = ob_buf_take(&name, NULL);
	return store->name == NULL ? ob_error_set(error, OB_NOMEM, "out of memory") : OB_OK;
}

int
ob_postgres_open(struct ob_store *base, const struct ob_store_config *config,
		 struct ob_error *error)
{
	struct postgres_store *store = postgres_store_of(base);
	int code;

	store->options = config->options;
	store->read_only = config->read_only;
	store->wake_fd = -1;
	ob_buf_init(&store->sql, POSTGRES_SQL_MAX);
	ob_buf_init(&store->members, POSTGRES_SQL_MAX);
	store->url = strdup(config->url);
	if (store->url == NULL)
		return ob_error_set(error, OB_NOMEM, "out of memory");
	code = name_make(store, error);
	if (code != OB_OK)
		return code;
	store->schema = ob_postgres_schema_name(store->options, error);
	if (store->schema == NULL)
		return OB_CONFIG;
	store->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (store->wake_fd < 0)
		return ob_error_set(error, OB_LIMIT, "%s: %s", store->name, strerror(errno));
	if (!ob_map_init(&store->handed, POSTGRES_HANDED_MAX))
		return ob_postgres_no_memory(store, error);
	return connection_open(store, error);
}

int
ob_postgres_reconnect(struct postgres_store *store, struct ob_error *error)
{
	connection_close(store);
	return connection_open(store, error);
}

void
ob_postgres_close(struct ob_store *base)
{
	struct postgres_store *store = postgres_store_of(base);

	/* Zeroed, and never opened. */
	if (store->url == NULL)
		return;
	connection_close(store);
	if (store->wake_fd >= 0)
		close(store->wake_fd);
	ob_postgres_forget(store);
	ob_map_free(&store->handed);
	ob_reading_free(&store->reading);
	ob_postgres_snapshot_free(&store->seen);
	ob_buf_free(&store->sql);
	ob_buf_free(&store->members);
	free(store->waiting);
	free(store->lease.opened);
	free(store->matches);
	free(store->common);
	free(store->watch);
	free(store->replay_s1);
	free(store->replay_s2);
	free(store->schema);
	free(store->name);
	free(store->url);
	store->url = store->name = store->schema = NULL;
	store->wake_fd = -1;
}
