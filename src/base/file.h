/* Reading small files: secrets and certificates. These block, as reading a file does. */
#ifndef OB_BASE_FILE_H
#define OB_BASE_FILE_H

#include <outbox/error.h>

#include "buf.h"

/*
 * Appends the whole of a regular file, of no more than the buffer's room. OB_NOT_FOUND, OB_DENIED,
 * OB_LIMIT or OB_FAILED with the name of the file in the text.
 */
int ob_file_read(const char *path, struct ob_buf *out, struct ob_error *error);

/*
 * The same for a secret: refuses (OB_CONFIG, with the command that mends it) a file that others
 * than its owner and group can read, or that anybody else can write, and an empty one; takes one
 * line end off its end. Use ob_buf_wipe on the buffer.
 */
int ob_file_read_secret(const char *path, struct ob_buf *out, struct ob_error *error);

/* The same refusals for a secret that a library will read by its path. */
int ob_file_check_secret(const char *path, struct ob_error *error);

#endif
