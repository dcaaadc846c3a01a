/*
 * SQLite's functions: of the library for liboutbox-sqlite, or through the table that the loading program hands to an
 * extension, so that outbox_sqlite.so needs no SQLite of its own.
 */
#ifndef OB_PRODUCER_SQLITE_API_H
#define OB_PRODUCER_SQLITE_API_H

#ifdef OB_SQLITE_EXTENSION
#include <sqlite3ext.h>
extern const sqlite3_api_routines *sqlite3_api;
#else
#include <sqlite3.h>
#endif

#endif
