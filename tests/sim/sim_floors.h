/*
 * How often each event must meet each state in ten thousand stories: about a quarter of what was seen when this was
 * written. Included by sim_coverage.c alone.
 */

/* States: starting, standby, running, paused, down, blocked, full, store_failed, draining, drained. */
static const uint64_t pair_floors[PAIR_EVENTS][SIM_COVERAGE_STATES] = {
    [START] = {12000, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    [ACQUIRED_HELD] = {3400, 4700, 0, 0, 0, 0, 0, 6200, 0, 0},
    [ACQUIRED_GOES_ON] = {0, 0, 5200, 320, 390, 0, 620, 26, 0, 0},
    [ACQUIRED_NOT] = {8700, 180000, 0, 0, 0, 0, 0, 1300, 0, 0},
    [ACQUIRED_FAILED] = {180, 1200, 48, 0, 0, 0, 0, 2300, 0, 0},
    [RENEWED_OK] = {0, 0, 170000, 260, 11000, 290, 6100, 140, 0, 0},
    [RENEWED_BUSY] = {0, 0, 1500, 0, 130, 0, 86, 100, 0, 0},
    [RENEWED_AGAIN] = {0, 0, 180, 0, 30, 0, 21, 72, 0, 0},
    [RENEWED_STALE] = {110, 0, 0, 0, 0, 0, 0, 43, 0, 0},
    [RENEWED_CHANGED] = {0, 0, 570, 310, 180, 0, 390, 0, 0, 0},
    [FETCHED_ROWS] = {0, 0, 830000, 36, 16000, 430, 4900, 260, 17, 0},
    [FETCHED_PARKED] = {0, 0, 110000, 0, 4300, 26, 9600, 27, 0, 0},
    [FETCHED_NOTHING] = {0, 0, 680000, 22, 40000, 460, 4700, 370, 67, 0},
    [FETCHED_FAILED] = {21, 0, 13000, 0, 430, 0, 120, 37, 0, 0},
    [SUBMITTED] = {0, 0, 1000000, 0, 38000, 520, 20000, 0, 26, 0},
    [SINK_FREE] = {0, 0, 4800, 0, 190, 0, 44, 21, 0, 0},
    [RECEIPT_UNKNOWN] = {0, 0, 6700, 0, 590, 0, 360, 1700, 0, 0},
    [RECEIPT_SENT] = {0, 0, 960000, 26, 9800, 120, 16000, 450, 90, 0},
    [RECEIPT_RETRY] = {0, 0, 17000, 0, 910, 0, 2000, 0, 0, 0},
    [RECEIPT_REJECT] = {0, 0, 5400, 0, 490, 0, 400, 0, 0, 0},
    [RECEIPT_DOWN] = {0, 0, 10000, 0, 28000, 0, 2200, 0, 0, 0},
    [RECEIPT_BLOCKED] = {0, 0, 140, 0, 0, 400, 0, 0, 0, 0},
    [RECEIPT_RETURNED] = {0, 0, 310, 0, 0, 0, 0, 0, 0, 0},
    [SETTLED_OK] = {0, 0, 830000, 140, 8100, 29, 10000, 580, 130, 0},
    [SETTLED_BUSY] = {0, 0, 2400, 0, 52, 0, 0, 0, 0, 0},
    [SETTLED_AGAIN] = {0, 0, 1600, 0, 15, 0, 0, 43, 0, 0},
    [SETTLED_STALE] = {0, 0, 0, 0, 0, 0, 0, 53, 0, 0},
    [SETTLED_CHANGED] = {0, 0, 680, 0, 34, 0, 24, 0, 0, 0},
    [TIMER] = {0, 0, 530000, 92, 74000, 880, 9300, 33, 38, 0},
    [LIMITS] = {0, 1400, 1700, 16, 180, 0, 93, 49, 0, 0},
    [POKE] = {0, 260, 440, 0, 47, 0, 20, 0, 0, 0},
    [PAUSE] = {0, 120, 190, 0, 19, 0, 0, 0, 0, 0},
    [RESUME] = {0, 110, 0, 220, 0, 0, 0, 0, 0, 0},
    [DRAIN] = {0, 430, 670, 0, 67, 0, 35, 16, 0, 0},
    [ABANDON] = {0, 0, 0, 0, 0, 0, 0, 0, 100, 0},
};

/* In the order of `fact_names`. */
static const uint64_t fact_floors[] = {4700,    100000, 8400,   5800, 1100,  110000, 24000, 2400,
				       1800,    580,    850000, 54,   750,   870,    2100,  2300,
				       1000000, 21000,  6500,   7600, 43000, 5800,   3200};
