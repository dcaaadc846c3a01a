/*
 * How often each event must meet each state in ten thousand stories: about a quarter of what was seen when this was
 * written. Included by sim_coverage.c alone.
 */

/* States: starting, standby, running, paused, down, blocked, full, store_failed, draining, drained. */
static const uint64_t pair_floors[PAIR_EVENTS][SIM_COVERAGE_STATES] = {
    [START] = {12000, 0, 0, 0, 0, 0, 0, 0, 0, 0},
    [ACQUIRED_HELD] = {3400, 4700, 0, 0, 0, 0, 0, 6600, 0, 0},
    [ACQUIRED_GOES_ON] = {0, 0, 4600, 300, 420, 9, 600, 21, 0, 0},
    [ACQUIRED_NOT] = {8700, 180000, 66, 0, 12, 0, 0, 1200, 0, 0},
    [ACQUIRED_FAILED] = {180, 1200, 43, 0, 0, 0, 0, 2300, 0, 0},
    [RENEWED_OK] = {0, 0, 170000, 270, 12000, 290, 5900, 150, 8, 0},
    [RENEWED_BUSY] = {0, 0, 1300, 12, 160, 7, 84, 120, 0, 0},
    [RENEWED_AGAIN] = {0, 0, 190, 0, 28, 0, 17, 66, 0, 0},
    [RENEWED_STALE] = {110, 0, 28, 0, 5, 0, 6, 0, 0, 0},
    [RENEWED_CHANGED] = {0, 0, 590, 290, 210, 6, 370, 0, 0, 0},
    [FETCHED_ROWS] = {0, 0, 840000, 41, 15000, 490, 5600, 260, 15, 0},
    [FETCHED_PARKED] = {0, 0, 110000, 0, 4200, 28, 9700, 26, 0, 0},
    [FETCHED_NOTHING] = {0, 0, 1700000, 24, 330000, 1300, 47000, 370, 66, 0},
    [FETCHED_FAILED] = {21, 0, 14000, 0, 1000, 11, 140, 38, 0, 0},
    [SUBMITTED] = {0, 0, 1000000, 0, 42000, 580, 19000, 8, 0, 0},
    [SINK_FREE] = {0, 0, 5000, 0, 220, 0, 60, 19, 0, 0},
    [RECEIPT_UNKNOWN] = {6, 9, 6500, 5, 660, 5, 270, 2000, 6, 0},
    [RECEIPT_SENT] = {9, 8, 970000, 28, 9400, 120, 17000, 550, 68, 0},
    [RECEIPT_RETRY] = {0, 0, 17000, 0, 1000, 0, 1700, 9, 0, 0},
    [RECEIPT_REJECT] = {0, 0, 5400, 0, 690, 0, 230, 0, 0, 0},
    [RECEIPT_DOWN] = {0, 0, 9900, 0, 32000, 10, 1000, 17, 0, 0},
    [RECEIPT_BLOCKED] = {0, 0, 140, 0, 14, 460, 6, 0, 0, 0},
    [RECEIPT_RETURNED] = {0, 0, 61000, 0, 13, 0, 8, 0, 0, 0},
    [SETTLED_OK] = {0, 0, 830000, 140, 7500, 32, 10000, 570, 120, 0},
    [SETTLED_BUSY] = {0, 0, 2400, 0, 51, 0, 13, 9, 0, 0},
    [SETTLED_AGAIN] = {0, 0, 1600, 0, 16, 0, 6, 38, 0, 0},
    [SETTLED_STALE] = {0, 0, 51, 0, 0, 0, 0, 0, 0, 0},
    [SETTLED_CHANGED] = {0, 0, 700, 0, 33, 0, 21, 0, 0, 0},
    [TIMER] = {0, 0, 520000, 100, 74000, 980, 7200, 36, 17, 0},
    [LIMITS] = {0, 1400, 1700, 17, 210, 5, 88, 59, 0, 0},
    [POKE] = {0, 280, 450, 0, 57, 0, 23, 10, 0, 0},
    [PAUSE] = {0, 110, 190, 0, 22, 0, 10, 0, 0, 0},
    [RESUME] = {0, 110, 0, 220, 0, 0, 0, 0, 0, 0},
    [DRAIN] = {0, 420, 680, 5, 65, 0, 30, 15, 0, 0},
    [ABANDON] = {0, 0, 0, 0, 0, 0, 0, 0, 100, 0},
};

/* In the order of `fact_names`. */
static const uint64_t fact_floors[] = {4600,    99000, 8000,   5900, 1100,  110000, 23000, 1800,
				       1800,    570,   850000, 55,   770,   890,    2100,  2300,
				       1000000, 20000, 6500,   7600, 45000, 4900,   3500};
