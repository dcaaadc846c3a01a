/* The commands, each in its cmd_*.c. Adding one: its table here and in commands.c, its file in meson.build. */
#ifndef OB_CLI_COMMANDS_H
#define OB_CLI_COMMANDS_H

#include "command.h"

extern const struct ob_command ob_cmd_adopt;
extern const struct ob_command ob_cmd_bench;
extern const struct ob_command ob_cmd_dead_discard;
extern const struct ob_command ob_cmd_dead_list;
extern const struct ob_command ob_cmd_dead_retry;
extern const struct ob_command ob_cmd_dead_show;
extern const struct ob_command ob_cmd_demo;
extern const struct ob_command ob_cmd_doctor;
extern const struct ob_command ob_cmd_help;
extern const struct ob_command ob_cmd_init;
extern const struct ob_command ob_cmd_migrate;
extern const struct ob_command ob_cmd_pause;
extern const struct ob_command ob_cmd_publish;
extern const struct ob_command ob_cmd_receive;
extern const struct ob_command ob_cmd_relay;
extern const struct ob_command ob_cmd_replay;
extern const struct ob_command ob_cmd_resume;
extern const struct ob_command ob_cmd_show;
extern const struct ob_command ob_cmd_status;
extern const struct ob_command ob_cmd_tail;
extern const struct ob_command ob_cmd_test_sink;
extern const struct ob_command ob_cmd_version;

#endif
