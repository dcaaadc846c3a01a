/* The sinks that are built in: one table each. The relay's registry lists them by their schemes. */
#ifndef OB_SINKS_SINKS_H
#define OB_SINKS_SINKS_H

#include <outbox/sink.h>

/* The most that the option "in-flight" of any sink may ask for. */
#define OB_SINK_IN_FLIGHT_MAX 65536

extern const struct ob_sink_ops ob_sink_callback;
extern const struct ob_sink_ops ob_sink_exec;
extern const struct ob_sink_ops ob_sink_file;
extern const struct ob_sink_ops ob_sink_http;
extern const struct ob_sink_ops ob_sink_null;
extern const struct ob_sink_ops ob_sink_stdout;

#endif
