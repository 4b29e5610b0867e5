/* agent.c - a client of the SSH agent. */
#include "transport/agent.h"

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

static uint32_t u32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static enum vt_rc add_u32(struct vt_buf *b, uint32_t n)
{
    unsigned char p[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8),
                          (unsigned char)n};
    return vt_buf_add(b, p, sizeof p);
}

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
    unsigned char head[4] = {(unsigned char)(message->len >> 24), (unsigned char)(message->len >> 16),
                             (unsigned char)(message->len >> 8), (unsigned char)message->len};
    enum vt_rc rc = send_all(a, (const char *)head, sizeof head);
    if (rc == VT_OK)
        rc = send_all(a, message->data, message->len);
    if (rc == VT_OK)
        rc = receive_all(a, head, sizeof head);
    if (rc != VT_OK)
        return rc;
    if (u32(head) == 0 || u32(head) > MESSAGE_MAX)
        return VT_PROTO;
    if ((rc = vt_buf_reserve(out, u32(head))) != VT_OK)
        return rc;
    if ((rc = receive_all(a, out->data, u32(head))) == VT_OK)
        out->len = u32(head);
    return rc;
}

static enum vt_rc list_keys(struct vt_agent *a)
{
    char type = REQUEST_IDENTITIES;
    struct vt_buf message = {.data = &type, .len = 1};
    enum vt_rc rc = ask(a, &message, &a->keys);
    if (rc != VT_OK)
        return rc;
    if (a->keys.data[0] != IDENTITIES_ANSWER || a->keys.len < 5)
        return VT_PROTO;
    a->left = u32((unsigned char *)a->keys.data + 1);
    a->at = 5;
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

void vt_agent_close(struct vt_agent *a)
{
    if (a->fd >= 0)
        close(a->fd);
    a->fd = -1;
    vt_buf_fini(&a->keys);
}

/* Takes a string of RFC 4251 at a->at. */
static bool take(struct vt_agent *a, struct vt_agent_key *out)
{
    const unsigned char *p = (unsigned char *)a->keys.data + a->at;
    size_t room = a->keys.len - a->at;
    if (room < 4 || u32(p) > room - 4)
        return false;
    *out = (struct vt_agent_key){p + 4, u32(p)};
    a->at += 4 + out->len;
    return true;
}

bool vt_agent_next(struct vt_agent *a, struct vt_agent_key *key)
{
    struct vt_agent_key comment;
    if (a->left == 0)
        return false;
    a->left--;
    return take(a, key) && take(a, &comment);
}

enum vt_rc vt_agent_sign(struct vt_agent *a, const struct vt_agent_key *key, const void *data, size_t n,
                         uint32_t flags, struct vt_buf *out)
{
    struct vt_buf message, answer;
    char type = SIGN_REQUEST;
    vt_buf_init(&message, MESSAGE_MAX);
    vt_buf_init(&answer, MESSAGE_MAX);
    enum vt_rc rc = vt_buf_add(&message, &type, 1);
    if (rc == VT_OK && (rc = add_u32(&message, (uint32_t)key->len)) == VT_OK)
        rc = vt_buf_add(&message, key->blob, key->len);
    if (rc == VT_OK && (rc = add_u32(&message, (uint32_t)n)) == VT_OK)
        rc = vt_buf_add(&message, data, n);
    if (rc == VT_OK && (rc = add_u32(&message, flags)) == VT_OK)
        rc = ask(a, &message, &answer);
    if (rc == VT_OK && (answer.data[0] != SIGN_RESPONSE || answer.len < 5
                        || u32((unsigned char *)answer.data + 1) != answer.len - 5))
        rc = VT_PROTO;
    if (rc == VT_OK)
        rc = vt_buf_add(out, answer.data + 5, answer.len - 5);
    vt_buf_fini(&message);
    vt_buf_fini(&answer);
    return rc;
}
