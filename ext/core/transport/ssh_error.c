/* ssh_error.c - what libssh2 and the socket answer, as a code and in words. */
#include "transport/ssh_private.h"

#include <string.h>

enum vt_rc vt_ssh_stopped(struct vt_ssh *ssh, enum vt_rc rc, enum vt_stage stage, const char *waited_for,
                          struct vt_err *e)
{
    int sys = rc == VT_IO ? ssh->ended_sys : 0;
    if (rc == VT_EOF)
        return vt_fail(e, rc, stage, 0, "the server closed the connection%s%s",
                       ssh->said[0] != '\0' ? ": " : "", ssh->said);
    if (rc == VT_IO)
        return vt_fail(e, rc, stage, sys, "the connection broke: %s", strerror(sys));
    if (rc == VT_TIMEOUT && waited_for != NULL)
        return vt_fail(e, rc, stage, 0, "no answer to the %s", waited_for);
    return vt_fail(e, rc, stage, 0, NULL);
}

static enum vt_rc meaning(int rc, enum vt_rc otherwise)
{
    switch (rc) {
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_SEND: return VT_EOF;
    case LIBSSH2_ERROR_ALLOC: return VT_NOMEM;
    case LIBSSH2_ERROR_TIMEOUT: return VT_TIMEOUT;
    default: return otherwise;
    }
}

enum vt_rc vt_ssh_failed(struct vt_ssh *ssh, int rc, enum vt_rc otherwise, enum vt_stage stage, struct vt_err *e)
{
    char *text = NULL;
    libssh2_session_last_error(ssh->session, &text, NULL, 0);
    enum vt_rc means = meaning(rc, otherwise);
    if (means == VT_NOMEM && ssh->memory.refused)
        means = vt_fail(e, VT_PROTO, stage, 0, "the server sent more than is kept for it");
    else if (means == VT_EOF)
        means = vt_ssh_stopped(ssh, ssh->ended != VT_OK ? ssh->ended : VT_EOF, stage, NULL, e);
    else
        vt_fail(e, means, stage, 0, "%s", text != NULL ? text : "");
    if (e != NULL)
        e->lib = rc;
    return means;
}
