/* syscalls.h - numbers of system calls that are newer than some of the headers that we
 * compile with: the kernel that runs us may know them all the same. From 424 on a call has
 * the same number on each architecture (but on Alpha). Who calls one is ready for ENOSYS. */
#ifndef VT_SYSCALLS_H
#define VT_SYSCALLS_H

#include <sys/syscall.h>

#ifndef __alpha__
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434              /* Linux 5.3 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436             /* Linux 5.9 */
#endif
#endif

#endif
