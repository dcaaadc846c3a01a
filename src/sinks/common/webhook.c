#include "webhook.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <outbox/webhook.h>
#include <string.h>

#include "base64.h"
#include "text.h"

#define HMAC_SIZE        32
#define ED25519_SIZE     64
#define ED25519_KEY_SIZE 32
#define SIGNATURES_MAX   32 /* looked at in one header: more is an attempt to keep us busy */
#define BODY_MAX         ((size_t)256 * 1024 * 1024)
#define SECRET_MIN       24
#define SECRET_MAX       64

void
ob_webhook_keys_init(struct ob_webhook_keys *keys)
{
	memset(keys, 0, sizeof(*keys));
	ob_buf_init(&keys->scratch, BODY_MAX);
}

void
ob_webhook_keys_free(struct ob_webhook_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		EVP_MAC_CTX_free(keys->items[i].hmac);
		EVP_PKEY_free(keys->items[i].pair);
	}
	keys->count = 0;
	ob_buf_free(&keys->scratch);
}

static EVP_MAC_CTX *
hmac_new(const unsigned char *secret, size_t size)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
	    OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *hmac = EVP_MAC_CTX_new(mac);

	EVP_MAC_free(mac);
	if (hmac != NULL && EVP_MAC_init(hmac, secret, size, params) != 1) {
		EVP_MAC_CTX_free(hmac);
		hmac = NULL;
	}
	return hmac;
}

static int
key_make(struct ob_webhook_key *key, const char *prefix, const unsigned char *bytes, size_t size,
	 struct ob_error *error)
{
	if (strcmp(prefix, "whsec_") == 0) {
		if (size < SECRET_MIN || size > SECRET_MAX)
			return ob_error_set(error, OB_CONFIG,
					    "the webhook secret has %zu bytes; whsec_ takes the "
					    "base64 of 24 to 64 random bytes",
					    size);
		key->hmac = hmac_new(bytes, size);
		key->can_sign = true;
	} else if (strcmp(prefix, "whsk_") == 0) {
		if (size != ED25519_KEY_SIZE && size != 2 * (size_t)ED25519_KEY_SIZE)
			return ob_error_set(error, OB_CONFIG,
					    "the webhook key has %zu bytes; whsk_ takes the base64 "
					    "of an ed25519 seed of 32, or with its public key 64",
					    size);
		key->pair =
		    EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, bytes, ED25519_KEY_SIZE);
		key->can_sign = true;
	} else {
		if (size != ED25519_KEY_SIZE)
			return ob_error_set(error, OB_CONFIG,
					    "the webhook key has %zu bytes; whpk_ takes the base64 "
					    "of an ed25519 public key of 32",
					    size);
		key->pair =
		    EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, bytes, ED25519_KEY_SIZE);
		key->can_sign = false;
	}
	if (key->hmac == NULL && key->pair == NULL)
		return ob_error_set(error, OB_NOMEM, "the webhook key cannot be set up");
	return OB_OK;
}

int
ob_webhook_keys_add(struct ob_webhook_keys *keys, const char *text, struct ob_error *error)
{
	static const char *const prefixes[] = {"whsec_", "whsk_", "whpk_"};
	const char *prefix = NULL;
	struct ob_buf bytes;
	int code;

	for (size_t i = 0; i < 3; i++)
		if (ob_text_starts_with(text, prefixes[i]))
			prefix = prefixes[i];
	if (prefix == NULL)
		return ob_error_set(error, OB_CONFIG,
				    "a webhook secret begins with whsec_ (HMAC-SHA256) or whsk_ "
				    "(ed25519)");
	if (keys->count == OB_WEBHOOK_KEYS_MAX)
		return ob_error_set(error, OB_CONFIG, "more than %d webhook secrets",
				    OB_WEBHOOK_KEYS_MAX);
	text += strlen(prefix);
	ob_buf_init(&bytes, 1024);
	if (ob_base64_decode(&bytes, text, strlen(text)))
		code = key_make(&keys->items[keys->count], prefix,
				(const unsigned char *)ob_buf_text(&bytes), bytes.size, error);
	else
		code = ob_error_set(error, OB_CONFIG, "what follows %s is not base64", prefix);
	if (code == OB_OK)
		keys->count++;
	ob_buf_wipe(&bytes);
	return code;
}

const char *
ob_webhook_id_problem(struct ob_bytes id)
{
	const unsigned char *at = id.data;

	if (id.size == 0)
		return "its id is empty";
	if (id.size > OB_WEBHOOK_ID_MAX)
		return "its id has more than 255 bytes";
	for (size_t i = 0; i < id.size; i++) {
		if (at[i] <= 0x20 || at[i] >= 0x7f)
			return "its id holds more than visible ASCII characters, and webhook-id "
			       "carries it as it is";
		if (at[i] == '.')
			return "its id holds a '.', which Standard Webhooks does not allow";
	}
	return NULL;
}

static bool
hmac_of(EVP_MAC_CTX *hmac, struct ob_bytes id, struct ob_bytes timestamp, struct ob_bytes body,
	unsigned char out[HMAC_SIZE])
{
	size_t size = 0;

	/* Without a key it starts again under the one that it has. */
	return EVP_MAC_init(hmac, NULL, 0, NULL) == 1 &&
	       EVP_MAC_update(hmac, id.data, id.size) == 1 &&
	       EVP_MAC_update(hmac, (const unsigned char *)".", 1) == 1 &&
	       EVP_MAC_update(hmac, timestamp.data, timestamp.size) == 1 &&
	       EVP_MAC_update(hmac, (const unsigned char *)".", 1) == 1 &&
	       (body.size == 0 || EVP_MAC_update(hmac, body.data, body.size) == 1) &&
	       EVP_MAC_final(hmac, out, &size, HMAC_SIZE) == 1 && size == HMAC_SIZE;
}

static bool
signed_content(struct ob_buf *out, struct ob_bytes id, struct ob_bytes timestamp,
	       struct ob_bytes body)
{
	ob_buf_reset(out);
	ob_buf_append(out, id.data, id.size);
	ob_buf_append_byte(out, '.');
	ob_buf_append(out, timestamp.data, timestamp.size);
	ob_buf_append_byte(out, '.');
	ob_buf_append(out, body.data, body.size);
	return !out->failed;
}

static bool
ed25519_sign(EVP_PKEY *pair, const struct ob_buf *content, unsigned char out[ED25519_SIZE])
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	size_t size = ED25519_SIZE;
	bool is_done = context != NULL &&
		       EVP_DigestSignInit(context, NULL, NULL, NULL, pair) == 1 &&
		       EVP_DigestSign(context, out, &size, (const unsigned char *)content->data,
				      content->size) == 1;

	EVP_MD_CTX_free(context);
	return is_done;
}

static bool
ed25519_fits(EVP_PKEY *pair, const struct ob_buf *content, const struct ob_buf *signature)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool fits =
	    context != NULL && EVP_DigestVerifyInit(context, NULL, NULL, NULL, pair) == 1 &&
	    EVP_DigestVerify(context, (const unsigned char *)signature->data, signature->size,
			     (const unsigned char *)content->data, content->size) == 1;

	EVP_MD_CTX_free(context);
	return fits;
}

bool
ob_webhook_sign(struct ob_webhook_keys *keys, struct ob_bytes id, struct ob_bytes timestamp,
		struct ob_bytes body, struct ob_buf *out)
{
	unsigned char signature[ED25519_SIZE];
	bool is_first = true;

	for (size_t i = 0; i < keys->count; i++) {
		struct ob_webhook_key *key = &keys->items[i];

		if (!key->can_sign)
			continue;
		if (key->hmac != NULL) {
			if (!hmac_of(key->hmac, id, timestamp, body, signature))
				return false;
		} else if (!signed_content(&keys->scratch, id, timestamp, body) ||
			   !ed25519_sign(key->pair, &keys->scratch, signature)) {
			return false;
		}
		ob_buf_append_text(out, is_first ? "" : " ");
		ob_buf_append_text(out, key->hmac != NULL ? "v1," : "v1a,");
		ob_base64_encode(out, signature, key->hmac != NULL ? HMAC_SIZE : ED25519_SIZE);
		is_first = false;
	}
	return !out->failed;
}

/* One item of the list, without its "v1," or "v1a,". */
static bool
signature_fits(struct ob_webhook_keys *keys, bool is_hmac, const struct ob_buf *signature,
	       struct ob_bytes id, struct ob_bytes timestamp, struct ob_bytes body)
{
	unsigned char expected[HMAC_SIZE];

	for (size_t i = 0; i < keys->count; i++) {
		struct ob_webhook_key *key = &keys->items[i];

		if (is_hmac != (key->hmac != NULL))
			continue;
		if (is_hmac) {
			if (hmac_of(key->hmac, id, timestamp, body, expected) &&
			    CRYPTO_memcmp(expected, signature->data, HMAC_SIZE) == 0)
				return true;
		} else if (signed_content(&keys->scratch, id, timestamp, body) &&
			   ed25519_fits(key->pair, &keys->scratch, signature)) {
			return true;
		}
	}
	return false;
}

static struct ob_bytes
next_word(const char **at, const char *end)
{
	const char *from;

	while (*at < end && **at == ' ')
		(*at)++;
	from = *at;
	while (*at < end && **at != ' ')
		(*at)++;
	return (struct ob_bytes){from, (size_t)(*at - from)};
}

bool
ob_webhook_matches(struct ob_webhook_keys *keys, struct ob_bytes id, struct ob_bytes timestamp,
		   struct ob_bytes body, struct ob_bytes signatures)
{
	const char *at = signatures.data, *end = at + signatures.size;
	struct ob_buf bytes;
	bool fits = false;

	ob_buf_init(&bytes, 2 * (size_t)ED25519_SIZE);
	for (int i = 0; i < SIGNATURES_MAX && !fits; i++) {
		struct ob_bytes word = next_word(&at, end);
		bool is_hmac = word.size > 3 && memcmp(word.data, "v1,", 3) == 0;
		size_t prefix = is_hmac ? 3 : 4;

		if (word.size == 0)
			break;
		if (!is_hmac && !(word.size > 4 && memcmp(word.data, "v1a,", 4) == 0))
			continue;
		ob_buf_reset(&bytes);
		if (ob_base64_decode(&bytes, (const char *)word.data + prefix,
				     word.size - prefix) &&
		    bytes.size == (is_hmac ? HMAC_SIZE : ED25519_SIZE))
			fits = signature_fits(keys, is_hmac, &bytes, id, timestamp, body);
	}
	ob_buf_free(&bytes);
	return fits;
}

/* Digits alone, as the specification has it; at most so many that the number cannot overflow. */
static bool
parse_timestamp(struct ob_bytes text, int64_t *seconds)
{
	const char *at = text.data;

	*seconds = 0;
	if (text.size == 0 || text.size > 15)
		return false;
	for (size_t i = 0; i < text.size; i++) {
		if (at[i] < '0' || at[i] > '9')
			return false;
		*seconds = *seconds * 10 + (at[i] - '0');
	}
	return true;
}

static int
check_head(const struct ob_webhook_request *request, int64_t now_s, int64_t tolerance_s,
	   struct ob_error *error)
{
	int64_t sent_s;

	if (request->id.data == NULL || request->id.size == 0)
		return ob_error_set(error, OB_INVALID, "webhook-id is missing");
	if (ob_webhook_id_problem(request->id) != NULL)
		return ob_error_set(error, OB_INVALID, "webhook-id: %s",
				    ob_webhook_id_problem(request->id));
	if (request->timestamp.data == NULL || request->timestamp.size == 0)
		return ob_error_set(error, OB_INVALID, "webhook-timestamp is missing");
	if (request->signature.data == NULL || request->signature.size == 0)
		return ob_error_set(error, OB_INVALID, "webhook-signature is missing");
	if (!parse_timestamp(request->timestamp, &sent_s))
		return ob_error_set(error, OB_INVALID, "webhook-timestamp is no number of seconds");
	if (sent_s < now_s - tolerance_s)
		return ob_error_set(error, OB_INVALID,
				    "webhook-timestamp is too old by more than %lld s",
				    (long long)tolerance_s);
	if (sent_s > now_s + tolerance_s)
		return ob_error_set(error, OB_INVALID,
				    "webhook-timestamp is more than %lld s in the future",
				    (long long)tolerance_s);
	return OB_OK;
}

int
ob_webhook_verify(const char *const *secrets, size_t secret_count,
		  const struct ob_webhook_request *request, int64_t now_s, int64_t tolerance_s,
		  struct ob_error *error)
{
	struct ob_webhook_keys keys;
	int code = OB_OK;

	ob_webhook_keys_init(&keys);
	for (size_t i = 0; i < secret_count && code == OB_OK; i++)
		code = ob_webhook_keys_add(&keys, secrets[i], error);
	if (code == OB_OK)
		code = check_head(request, now_s, tolerance_s, error);
	if (code == OB_OK && !ob_webhook_matches(&keys, request->id, request->timestamp,
						 request->body, request->signature))
		code = ob_error_set(error, OB_INVALID, "no signature in webhook-signature fits");
	ob_webhook_keys_free(&keys);
	return code;
}
