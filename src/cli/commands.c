#include "commands.h"

const struct ob_command *const ob_commands[] = {
    &ob_cmd_init,         &ob_cmd_migrate,
    &ob_cmd_doctor,       &ob_cmd_test_sink,
    &ob_cmd_demo,         &ob_cmd_bench,
    &ob_cmd_relay,        &ob_cmd_publish,
    &ob_cmd_status,       &ob_cmd_tail,
    &ob_cmd_show,         &ob_cmd_dead_list,
    &ob_cmd_dead_show,    &ob_cmd_dead_retry,
    &ob_cmd_dead_discard, &ob_cmd_pause,
    &ob_cmd_resume,       &ob_cmd_replay,
    &ob_cmd_adopt,        &ob_cmd_help,
    &ob_cmd_version,      NULL,
};
