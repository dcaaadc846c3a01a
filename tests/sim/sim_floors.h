/* How often at least each event must meet each state in ten thousand stories. Included by sim_coverage.c alone. */
static const struct {
	enum pair_event event;
	enum ob_state state;
	uint64_t in_ten_thousand;
} floors[] = {
    {START, OB_STATE_STARTING, 10000},
};
