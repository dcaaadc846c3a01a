#include <outbox/sink.h>

const char *
ob_fate_name(enum ob_fate fate)
{
	switch (fate) {
	case OB_FATE_UNKNOWN:
		return "unknown";
	case OB_FATE_SENT:
		return "sent";
	case OB_FATE_RETRY:
		return "retry";
	case OB_FATE_REJECT:
		return "reject";
	case OB_FATE_DOWN:
		return "down";
	case OB_FATE_BLOCKED:
		return "blocked";
	case OB_FATE_RETURNED:
		return "returned";
	}
	return "invalid";
}
