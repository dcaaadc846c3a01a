/* The stores that are built in. Adding one: its table here, and its files in meson.build. */
#ifndef OB_STORES_H
#define OB_STORES_H

#include <outbox/store.h>

extern const struct ob_store_ops ob_store_memory;
extern const struct ob_store_ops ob_store_sqlite;
extern const struct ob_store_ops ob_store_postgres; /* where libpq is there */

#endif
