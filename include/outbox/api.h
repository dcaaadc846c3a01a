/* What every public header needs: visibility, and the compiler's help with format strings. */
#ifndef OUTBOX_API_H
#define OUTBOX_API_H

#if defined(__GNUC__)
#define OB_API                        __attribute__((visibility("default")))
#define OB_PRINTF(format_at, args_at) __attribute__((format(printf, format_at, args_at)))
#else
#define OB_API
#define OB_PRINTF(format_at, args_at)
#endif

#endif
