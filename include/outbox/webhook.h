/*
 * Checking that a webhook comes from who it says (Standard Webhooks 1.0.0, spec/standard-webhooks.md).
 *
 * A request carries `webhook-id`, `webhook-timestamp` (seconds since 1970, of the attempt) and `webhook-signature`, a list
 * separated by spaces, of which one that fits is enough: that is how secrets are rotated. Signed are the bytes
 * `{id}.{timestamp}.{body}`, so check the body as it came, before any JSON parser has touched it.
 *
 *	const char *secrets[] = {"whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"};
 *	struct ob_webhook_request it = {.id = ..., .timestamp = ..., .signature = ..., .body = ...};
 *
 *	if (ob_webhook_verify(secrets, 1, &it, time(NULL), OB_WEBHOOK_TOLERANCE_S, &error) != OB_OK)
 *		answer 401 and do nothing
 *
 * Then keep `webhook-id` in the inbox (<outbox/inbox.h>): a signature does not stop the same message from coming twice.
 *
 * Pure functions, any thread, nothing blocks.
 */
#ifndef OUTBOX_WEBHOOK_H
#define OUTBOX_WEBHOOK_H

#include <outbox/api.h>
#include <outbox/error.h>
#include <outbox/message.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How far a time stamp may be off, either way, so that a recorded request cannot be sent again much later. */
#define OB_WEBHOOK_TOLERANCE_S 300

/* The three headers and the body, as they were received. Absent ones have `data == NULL`. */
struct ob_webhook_request {
	struct ob_bytes id, timestamp, signature, body;
};

/*
 * Checks a request against the secrets: each `whsec_` and the base64 of 24 to 64 bytes (HMAC-SHA256, `v1,`), or `whpk_` and
 * the base64 of an ed25519 public key (`v1a,`). `now_s` is the wall clock. Signatures are compared in constant time.
 *
 * OB_OK: one of the signatures is right and the time is near. OB_INVALID: something of it is missing, too old or too
 * new, or no signature fits; `error` says which, for the log, not for the sender. OB_CONFIG: a secret is not one.
 */
OB_API int ob_webhook_verify(const char *const *secrets, size_t secret_count,
			     const struct ob_webhook_request *request, int64_t now_s,
			     int64_t tolerance_s, struct ob_error *error);

#ifdef __cplusplus
}
#endif
#endif
