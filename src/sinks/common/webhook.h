/*
 * The keys of Standard Webhooks 1.0.0 and what they make: shared by the sinks that sign and by those who check
 * (<outbox/webhook.h>).
 *
 *	whsec_BASE64  24 to 64 random bytes; signs and checks with HMAC-SHA256, "v1,"
 *	whsk_BASE64   an ed25519 seed (32 bytes), or seed and public key (64); signs and checks, "v1a,"
 *	whpk_BASE64   an ed25519 public key (32 bytes); checks alone
 */
#ifndef OB_SINKS_WEBHOOK_H
#define OB_SINKS_WEBHOOK_H

#include <openssl/evp.h>
#include <outbox/error.h>
#include <outbox/message.h>
#include <stdbool.h>

#include "buf.h"

#define OB_WEBHOOK_KEYS_MAX 10 /* old ones of a rotation among them */
#define OB_WEBHOOK_ID_MAX   255

struct ob_webhook_key {
	EVP_MAC_CTX *hmac; /* of whsec_, else NULL; its secret is set */
	EVP_PKEY *pair;    /* of whsk_ and whpk_, else NULL */
	bool can_sign;
};

struct ob_webhook_keys {
	struct ob_webhook_key items[OB_WEBHOOK_KEYS_MAX];
	size_t count;
	struct ob_buf scratch; /* ed25519 takes its message in one piece */
};

void ob_webhook_keys_init(struct ob_webhook_keys *keys);
/* Safe on a zeroed struct and twice. */
void ob_webhook_keys_free(struct ob_webhook_keys *keys);
/* Adds the key that the text holds. OB_CONFIG with what is wrong, without the text. */
int ob_webhook_keys_add(struct ob_webhook_keys *keys, const char *text, struct ob_error *error);

/* Why this id cannot be a webhook-id, or NULL. It must be visible ASCII, since it is a header as it is, and without '.',
 * which separates what is signed. */
const char *ob_webhook_id_problem(struct ob_bytes id);

/* Appends the value of webhook-signature: one signature of each key that can sign. `id` has no problem. */
bool ob_webhook_sign(struct ob_webhook_keys *keys, struct ob_bytes id, struct ob_bytes timestamp,
		     struct ob_bytes body, struct ob_buf *out);

/* One of the signatures in the list is right. */
bool ob_webhook_matches(struct ob_webhook_keys *keys, struct ob_bytes id, struct ob_bytes timestamp,
			struct ob_bytes body, struct ob_bytes signatures);

#endif
