/* ptree.h - a process with all that it has started. */
#ifndef VT_PTREE_H
#define VT_PTREE_H

#include "base/err.h"

#include <sys/types.h>

/* Sends sig to process pid and all its descendants.  They are stopped first, so that none
 * can start another meanwhile; those that survive sig go on.  VT_IO if pid is none. */
enum vt_rc vt_ptree_kill(pid_t pid, int sig);

#endif
