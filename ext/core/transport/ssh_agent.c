/* ssh_agent.c - a client of the SSH agent. */
#include "transport/ssh_agent.h"

#include "base/wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_IDENTITIES 11
#define IDENTITIES_ANSWER 12
#define SIGN_REQUEST 13
#define SIGN_RESPONSE 14
#define MESSAGE_MAX (256 * 1024)    /* OpenSSH's own bound */

static enum vt_rc wait_for(struct vt_agent *a, short events)
{
    struct pollfd fd = {.fd = a->fd, .events = events};
    return vt_wait(a->w, &fd, 1, a->deadline);
}

static enum vt_rc send_all(struct vt_agent *a, const char *data, size_t n)
{
    while (n > 0) {
        ssize_t put = send(a->fd, data, n, MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR)
            return VT_IO;
        if (put > 0) {
            data += put;
            n -= (size_t)put;
            continue;
        }
        enum vt_rc rc = wait_for(a, POLLOUT);
        if (rc != VT_OK)
            return rc;
    }
    return VT_OK;
}

static enum vt_rc receive_all(struct vt_agent *a, void *data, size_t n)
{
    char *to = data;
    while (n > 0) {
        ssize_t got = recv(a->fd, to, n, 0);
        if (got == 0)
            return VT_PROTO;
        if (got < 0 && errno != EAGAIN && errno != EINTR)
            return VT_IO;
        if (got > 0) {
            to += got;
            n -= (size_t)got;
            continue;
        }
        enum vt_rc rc = wait_for(a, POLLIN);
        if (rc != VT_OK)
            return rc;
    }
    return VT_OK;
}

/* Sends a message (its length goes before it), and receives the answer into out. */
static enum vt_rc ask(struct vt_agent *a, const struct vt_buf *message, struct vt_buf *out)
{
    unsigned char head[4];
    vt_put_u32(head, (uint32_t)message->len);
    enum vt_rc rc = send_all(a, (const char *)head, sizeof head);
    if (rc == VT_OK)
        rc = send_all(a, message->data, message->len);
    if (rc == VT_OK)
        rc = receive_all(a, head, sizeof head);
    if (rc != VT_OK)
        return rc;
    struct vt_cursor c = vt_cursor_of(head, sizeof head);
    uint32_t n = vt_take_u32(&c);
    if (n == 0 || n > MESSAGE_MAX)
        return VT_PROTO;
    if ((rc = vt_buf_reserve(out, n)) != VT_OK)
        return rc;
    if ((rc = receive_all(a, out->data, n)) == VT_OK)
        out->len = n;
    return rc;
}

void vt_agent_rewind(struct vt_agent *a)
{
    a->left = a->count;
    a->at = 5;
}

static enum vt_rc list_keys(struct vt_agent *a)
{
    char type = REQUEST_IDENTITIES;
    struct vt_buf message = {.data = &type, .len = 1};
    enum vt_rc rc = ask(a, &message, &a->keys);
    if (rc != VT_OK)
        return rc;
    struct vt_cursor c = vt_cursor_of(a->keys.data, a->keys.len);
    unsigned kind = vt_take_u8(&c);
    a->count = vt_take_u32(&c);
    if (kind != IDENTITIES_ANSWER || c.bad)
        return VT_PROTO;
    vt_agent_rewind(a);
    return VT_OK;
}

enum vt_rc vt_agent_open(struct vt_agent *a, const char *path, struct vt_waiter *w, vt_time deadline)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    *a = (struct vt_agent){.fd = -1, .w = w, .deadline = deadline};
    vt_buf_init(&a->keys, MESSAGE_MAX);
    if (path == NULL)
        path = getenv("SSH_AUTH_SOCK");
    errno = ENOENT;
    if (path == NULL || strlen(path) >= sizeof to.sun_path)
        return VT_IO;
    strcpy(to.sun_path, path);
    a->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (a->fd < 0 || connect(a->fd, (struct sockaddr *)&to, sizeof to) < 0)
        return VT_IO;
    return list_keys(a);
}

bool vt_agent_is_named(void)
{
    return getenv("SSH_AUTH_SOCK") != NULL;
}

void vt_agent_close(struct vt_agent *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
    vt_buf_fini(&a->keys);
}

bool vt_agent_next(struct vt_agent *a, struct vt_agent_key *key)
{
    if (a->left == 0)
        return false;
    struct vt_cursor c = vt_cursor_of(a->keys.data + a->at, a->keys.len - a->at);
    struct vt_span blob = vt_take_bytes(&c);
    (void)vt_take_bytes(&c);            /* its comment */
    a->left--;
    a->at = a->keys.len - (size_t)(c.end - c.p);
    *key = (struct vt_agent_key){blob.p, blob.n};
    return !c.bad;
}

static enum vt_rc take_signature(const struct vt_buf *answer, struct vt_buf *out)
{
    struct vt_cursor c = vt_cursor_of(answer->data, answer->len);
    unsigned kind = vt_take_u8(&c);
    struct vt_span signature = vt_take_bytes(&c);
    if (kind != SIGN_RESPONSE || c.bad || c.p != c.end)
        return VT_PROTO;
    return vt_buf_add(out, signature.p, signature.n);
}

enum vt_rc vt_agent_sign(struct vt_agent *a, const struct vt_agent_key *key, const void *data, size_t n,
                         uint32_t flags, struct vt_buf *out)
{
    struct vt_buf message, answer;
    char type = SIGN_REQUEST;
    vt_buf_init(&message, MESSAGE_MAX);
    vt_buf_init(&answer, MESSAGE_MAX);
    enum vt_rc rc = vt_buf_add(&message, &type, 1);
    if (rc == VT_OK)
        rc = vt_buf_add_string(&message, key->blob, key->len);
    if (rc == VT_OK)
        rc = vt_buf_add_string(&message, data, n);
    if (rc == VT_OK && (rc = vt_buf_add_u32(&message, flags)) == VT_OK)
        rc = ask(a, &message, &answer);
    if (rc == VT_OK)
        rc = take_signature(&answer, out);
    vt_buf_fini(&message);
    vt_buf_fini(&answer);
    return rc;
}
