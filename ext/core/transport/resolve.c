/* resolve.c - name look-ups that can be given up. */
#include "transport/resolve.h"

#include "base/ascii.h"

#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Shared by the caller and the look-up's thread; the last one frees it. */
struct lookup {
    atomic_int refs;
    int done_fd;                    /* eventfd: readable once result and code are set */
    int code;                       /* of getaddrinfo */
    struct addrinfo *result;
    char port[12];
    char host[];
};

static void lookup_unref(struct lookup *l)
{
    if (atomic_fetch_sub(&l->refs, 1) != 1)
        return;
    if (l->result != NULL)
        freeaddrinfo(l->result);
    close(l->done_fd);
    free(l);
}

static int look_up(const char *host, const char *port, int flags, struct addrinfo **result)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | flags};
    return getaddrinfo(host, port, &hints, result);
}

static void *lookup_thread(void *arg)
{
    struct lookup *l = arg;
    uint64_t one = 1;
    l->code = look_up(l->host, l->port, 0, &l->result);
    (void)!write(l->done_fd, &one, sizeof one);
    lookup_unref(l);
    return NULL;
}

static struct lookup *lookup_new(const char *host, const char *port)
{
    struct lookup *l = calloc(1, sizeof *l + strlen(host) + 1);
    if (l == NULL)
        return NULL;
    strcpy(l->host, host);
    strcpy(l->port, port);
    l->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    l->refs = 2;
    if (l->done_fd >= 0)
        return l;
    free(l);
    return NULL;
}

static enum vt_rc lookup_start(struct lookup *l)
{
    pthread_t thread;
    pthread_attr_t attr;
    sigset_t all, before;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);               /* signals are for the threads that can handle them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&thread, &attr, lookup_thread, l);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (failed)
        lookup_unref(l);
    return failed ? VT_NOMEM : VT_OK;
}

static void copy(const struct addrinfo *list, struct vt_addresses *out)
{
    for (out->count = 0; list != NULL && out->count < VT_ADDRESSES; list = list->ai_next) {
        if (list->ai_addrlen > sizeof out->list[0])
            continue;
        memcpy(&out->list[out->count], list->ai_addr, list->ai_addrlen);
        out->len[out->count++] = list->ai_addrlen;
    }
}

/* The loopback addresses, which "localhost" stands for (RFC 6761, 6.3) even where no /etc/hosts says so, as
   on a minimal system; whether it was that name. */
static int is_localhost(const char *host, const char *port, struct vt_addresses *out)
{
    static const char *const loopback[] = {"127.0.0.1", "::1"};
    struct vt_addresses one;
    struct addrinfo *list;
    if (!vt_same_name(host, "localhost"))
        return 0;
    out->count = 0;
    for (int i = 0; i < 2; i++)
        if (look_up(loopback[i], port, AI_NUMERICHOST, &list) == 0) {
            copy(list, &one);
            freeaddrinfo(list);
            out->list[out->count] = one.list[0];
            out->len[out->count++] = one.len[0];
        }
    return out->count > 0;
}

static enum vt_rc resolve_name(const char *host, const char *port, struct vt_waiter *w, vt_time deadline,
                               struct vt_addresses *out, struct vt_err *e)
{
    struct lookup *l = lookup_new(host, port);
    if (l == NULL || lookup_start(l) != VT_OK) {
        if (l != NULL)
            lookup_unref(l);
        return vt_fail(e, VT_NOMEM, VT_STAGE_RESOLVE, 0, NULL);
    }
    struct pollfd fd = {.fd = l->done_fd, .events = POLLIN};
    enum vt_rc rc = vt_wait(w, &fd, 1, deadline);
    if (rc != VT_OK)
        vt_fail(e, rc, VT_STAGE_RESOLVE, 0, "no answer for the name %s", host);
    else if (l->code != 0 && !is_localhost(host, port, out))
        rc = vt_fail(e, VT_RESOLVE, VT_STAGE_RESOLVE, 0, "%s: %s", host, gai_strerror(l->code));
    else if (l->code == 0)
        copy(l->result, out);
    lookup_unref(l);
    return rc;
}

enum vt_rc vt_resolve(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                      struct vt_addresses *out, struct vt_err *e)
{
    char text[12], bare[300];
    struct addrinfo *list = NULL;
    size_t n = strlen(host);
    if (n > 2 && n < sizeof bare && host[0] == '[' && host[n - 1] == ']') {
        memcpy(bare, host + 1, n - 2);
        bare[n - 2] = '\0';
        host = bare;
    }
    if (port <= 0 || port > 65535 || host[0] == '\0')
        return vt_fail(e, VT_INVALID, VT_STAGE_RESOLVE, 0, "no such place: host '%s', port %d", host, port);
    snprintf(text, sizeof text, "%d", port);
    if (look_up(host, text, AI_NUMERICHOST, &list) != 0)
        return resolve_name(host, text, w, deadline, out, e);
    copy(list, out);
    freeaddrinfo(list);
    return VT_OK;
}
