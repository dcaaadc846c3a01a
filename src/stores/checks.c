#include "checks.h"

#include "pattern.h"
#include "subscription_name.h"

int
ob_subscription_check(const struct ob_subscription *subscription, const char *kind,
		      uint32_t shards_max, struct ob_error *error)
{
	int code = ob_subscription_name_check(subscription->name, error);

	if (code != OB_OK)
		return code;
	if (subscription->shards > OB_SHARDS_MAX)
		return ob_error_set(error, OB_CONFIG, "subscription '%s': at most %d shards",
				    subscription->name, OB_SHARDS_MAX);
	if (subscription->shards > shards_max)
		return ob_error_set(error, OB_UNSUPPORTED,
				    "subscription '%s': %s runs %u shard%s at most, not %u",
				    subscription->name, kind, shards_max,
				    shards_max == 1 ? "" : "s", subscription->shards);
	return ob_pattern_check(subscription->topics, error);
}

bool
ob_outcome_is_of_log(const struct ob_outcome *outcome)
{
	return outcome->kind >= OB_OUTCOME_PARK && outcome->kind <= OB_OUTCOME_DEAD_HOLD;
}

int
ob_settle_check(const struct ob_store_ops *ops, const struct ob_settle *settle,
		const struct ob_reading *reading, struct ob_error *error)
{
	uint32_t count = 0;

	if (settle->through > reading->last_ordinal)
		return ob_error_set(
		    error, OB_INVALID, "settle through %llu, but only %llu were read",
		    (unsigned long long)settle->through, (unsigned long long)reading->last_ordinal);
	for (uint32_t i = 0; i < settle->outcome_count; i++) {
		const struct ob_outcome *outcome = &settle->outcomes[i];

		count += outcome->kind != OB_OUTCOME_BACK;
		if (ob_outcome_is_of_log(outcome) && outcome->ordinal > settle->through)
			return ob_error_set(error, OB_INVALID,
					    "settle: ordinal %llu is not settled",
					    (unsigned long long)outcome->ordinal);
	}
	if (ops->settle_count_max > 0 && count > ops->settle_count_max)
		return ob_error_set(error, OB_INVALID, "settle: %u outcomes, at most %u", count,
				    ops->settle_count_max);
	return OB_OK;
}
