/*
 * Crash points: places at which a test lets the process die, as kill -9 or a lost machine would.
 *
 *	OB_CRASH_POINT("C5");
 *
 * Nothing is left of them unless the build was set up with -Dcrash_points=true, which is never done
 * for production. Then OB_CRASH_AT=NAME:K in the environment kills the process by SIGKILL at the
 * K-th pass of the point NAME (K is 1 when left out). Before that one line "NAME IN_FLIGHT" is
 * appended to the file OB_CRASH_LOG, so that a test can tell that its point fired and that messages
 * were in flight.
 *
 *	C1  before a fetch                      C8  settled, before the next fetch
 *	C2  lease taken, commit unknown         C9  while parking
 *	C3  fetched, not sent                   C10 while moving to dead
 *	C4  half of the request is written      C11 while trimming the log
 *	C5  sent, no receipt                    C12 during a migration
 *	C6  receipt, not settled                C13 during a reload
 *	C7  settle sent, commit unknown         C14 while renewing the lease
 */
#ifndef OB_BASE_CRASH_H
#define OB_BASE_CRASH_H

#ifdef OB_CRASH_POINTS

/* Passes the point; returns unless it is the one to die at. From any thread. */
void ob_crash_point(const char *name);
/* How many messages are in flight, or read and not settled: written into the log's line. */
void ob_crash_note_in_flight(unsigned long count);

#define OB_CRASH_POINT(name)      ob_crash_point(name)
#define OB_CRASH_IN_FLIGHT(count) ob_crash_note_in_flight(count)

#else

#define OB_CRASH_POINT(name)      ((void)0)
#define OB_CRASH_IN_FLIGHT(count) ((void)0)

#endif
#endif
