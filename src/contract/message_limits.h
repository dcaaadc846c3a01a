/* How much a message may hold. */
#ifndef OB_CONTRACT_MESSAGE_LIMITS_H
#define OB_CONTRACT_MESSAGE_LIMITS_H

#include <outbox/message.h>

/* The greatest payload unless an option says otherwise, and the most its key, topic and other
 * fields may have. */
#define OB_MESSAGE_PAYLOAD_MAX_DEFAULT ((uint64_t)16 * 1024 * 1024)
#define OB_MESSAGE_NAME_MAX            255         /* bytes of topic, key, type, content type, id */
#define OB_MESSAGE_HEADERS_MAX         (64 * 1024) /* bytes of the headers' JSON */

#endif
