/* sandbox.h - a folder of the fuzzer's own: what is copied from it, and a target to copy to.
 *
 *     source/a source/d/b          files to send
 *     sentinel                     nobody may touch it
 *     target/a                     was there before
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include <stdbool.h>

/* Makes it, or what the last run has left out of it; its path. */
const char *sandbox_begin(void);

/* What must hold: nothing outside the target was touched; unless `may_leave`, no temporary name is
 * left in it; unless `may_replace`, the file that was there before is there. */
void sandbox_check(bool may_leave, bool may_replace);

#endif
