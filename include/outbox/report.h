/* Findings of a check (`outbox doctor`, `test-sink`): what is wrong or fine, and what mends it. */
#ifndef OUTBOX_REPORT_H
#define OUTBOX_REPORT_H

#ifdef __cplusplus
extern "C" {
#endif

enum ob_finding_level { OB_FINDING_OK = 0, OB_FINDING_NOTE, OB_FINDING_WARN, OB_FINDING_FAIL };

struct ob_finding {
	enum ob_finding_level level;
	const char *code; /* stable: "wal_too_large" */
	const char *what; /* one sentence that a person can act on */
	const char *mend; /* the command or statement that mends it, or NULL */
};

/* Where findings go; called on the caller's thread, the strings live for the call only. */
struct ob_report {
	void *context;
	void (*add)(void *context, const struct ob_finding *finding);
};

#ifdef __cplusplus
}
#endif
#endif
