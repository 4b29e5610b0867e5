/* main.c - virtvm-keeper, the program that a keeper is: it holds the terminals of processes
 * that outlive the one that started them.
 *
 * A program of its own, so that it has a name of its own, and nothing of its starter's:
 * memory, environment, mapped files.  keeper/dial.c starts it:
 *
 *     virtvm-keeper SOCKET DEVICE INODE
 *
 * with the listening socket as descriptor 3 and its folder as 4; the numbers tell the
 * socket's file from another one of that name.
 */
#include "keeper/server.h"

#include "base/syscalls.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LISTENER = 3, FOLDER };

static void close_others(int first)
{
    if (syscall(SYS_close_range, first, ~0U, 0) == 0)
        return;
    for (int fd = first; fd < (int)sysconf(_SC_OPEN_MAX); fd++)
        close(fd);
}

static void reset_signals(void)
{
    static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGTSTP, SIGTTIN, SIGTTOU};
    sigset_t none;
    for (int n = 1; n < NSIG; n++)
        signal(n, SIG_DFL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Becomes a process of its own: no terminal, no descriptors, no signals of its starter's. */
static void settle(void)
{
    struct rlimit files;
    reset_signals();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    fcntl(LISTENER, F_SETFD, FD_CLOEXEC);
    fcntl(FOLDER, F_SETFD, FD_CLOEXEC);
    close_others(FOLDER + 1);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;    /* for all sessions of the user; they have their own limits */
        setrlimit(RLIMIT_NOFILE, &files);
    }
    (void)!chdir("/");
    prctl(PR_SET_NAME, "virtvm-keeper");    /* the file may have been started by another name */
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "virtvm-keeper is started by virtvm, for sessions that outlive it.\n");
        return 2;
    }
    struct vt_keeper_place place = {.listener = LISTENER, .folder = FOLDER, .name = argv[1],
                                    .device = strtoull(argv[2], NULL, 10), .inode = strtoull(argv[3], NULL, 10)};
    settle();
    vt_keeper_serve(&place);
    return 0;
}
