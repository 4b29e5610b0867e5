/* sudo.c - the server's side as root. */
#include "transfer/sudo.h"

#include <stdio.h>
#include <string.h>

#define IS_ROOT 3                   /* exit codes of the commands below */
#define WAS_READ 5
#define NOT_ASKED 7
#define NO_SERVER 9
#define BAD_MESSAGE 11              /* OpenSSH's sftp-server, of what is no packet */
#define NOT_FOUND 127

/* Where systems have their sftp-server.  Quotes, and no line break, for any login shell. */
#define SFTP_SERVER(how)                                                                             \
    "exec sh -c 'for s in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server"             \
    " /usr/lib/ssh/sftp-server /usr/libexec/sftp-server /usr/libexec/ssh/sftp-server"                \
    " /usr/lib64/ssh/sftp-server /usr/lib/sftp-server /usr/local/libexec/sftp-server"                \
    " /usr/local/lib/openssh/sftp-server; do if [ -x $s ]; then exec " how " $s; fi; done; exit 9'"

#define FREE "sudo -n"
/* -k: it asks, though it was given the password a moment ago.  */
#define ASKED "sudo -k -S -p \"\""
#define UNASKED "sudo -S -p \"\""

/* What sudo did not read is the next program's to read: some ask for nothing where -n is refused
 * all the same (a group that is trusted, a fingerprint, a key).  A shell would run a password.  So a
 * line follows it that has to be the first one then; none follows when it is tried, since a sudo that
 * refuses the password would take that for another one, and count it.  Packets for an sftp-server begin with a
 * length: the letters of a password are far too large a one, and it ends. */
#define READ_IT "virtvm-the-password-was-read"
#define GUARDED_SH "sh -c 'IFS= read -r l; case $l in " READ_IT ") exec sh \"$@\";; \"\") exit 5;; esac; exit 7' sh"

static const char *const sftp_commands[] = {
    [VT_SUDO_ROOT] = SFTP_SERVER(""), [VT_SUDO_FREE] = SFTP_SERVER(FREE), [VT_SUDO_ASKED] = SFTP_SERVER(ASKED),
    [VT_SUDO_UNASKED] = SFTP_SERVER(UNASKED),
};
/* HOME: "~" stays whose it is. */
static const char *const sh_commands[] = {
    [VT_SUDO_NO] = "exec sh", [VT_SUDO_ROOT] = "exec sh", [VT_SUDO_FREE] = "exec " FREE " env HOME=\"$HOME\" sh",
    [VT_SUDO_ASKED] = "exec " ASKED " env HOME=\"$HOME\" " GUARDED_SH,
    [VT_SUDO_UNASKED] = "exec " UNASKED " env HOME=\"$HOME\" sh",
};

const char *vt_sudo_sftp(const struct vt_sftp *s)
{
    return sftp_commands[s->sudo];
}

const char *vt_sudo_sh(const struct vt_sftp *s)
{
    return sh_commands[s->sudo];
}

enum vt_rc vt_sudo_add_password(const struct vt_sftp *s, bool is_sh, struct vt_buf *out)
{
    if (s->sudo != VT_SUDO_ASKED)
        return VT_OK;
    enum vt_rc rc = vt_buf_addf(out, "%s\n", s->sudo_password);
    return rc == VT_OK && is_sh ? vt_buf_add(out, READ_IT "\n", sizeof READ_IT) : rc;
}

static void forget(struct vt_buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->len);
    vt_buf_fini(secret);
}

void vt_sudo_wrap(const struct vt_sftp *s, struct vt_script *x)
{
    struct vt_script whole;
    if (s->sudo == VT_SUDO_NO || s->sudo == VT_SUDO_ROOT || x->rc != VT_OK || vt_buf_add(&x->text, "", 1) != VT_OK)
        return;
    vt_script_init(&whole);
    vt_script_add(&whole, vt_sudo_sh(s));
    vt_script_add(&whole, " -c ");
    vt_script_word(&whole, x->text.data);
    vt_script_fini(x);
    *x = whole;
}

/* ---- finding out ---- */

/* The exit code of a command that is given the password, if one is needed, and then the end of its
 * input. */
static int try(struct vt_sftp *s, const char *command, struct vt_buf *said)
{
    struct vt_buf input, out;
    struct vt_err e = {0};
    vt_buf_init(&input, 64 * 1024);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_clear(said);
    struct vt_ssh_exec x = {.command = command, .out = &out, .err = said, .status = -1};
    enum vt_rc rc = vt_sudo_add_password(s, false, &input);
    x.input = input.data;
    x.input_len = input.len;
    if (rc == VT_OK)
        rc = vt_ssh_exec_run(s->ssh, &x, s->w, s->deadline, &e);
    if (rc != VT_OK)
        vt_sftp_stop(s, rc, e.sys, e.text[0] != '\0' ? e.text : NULL);
    forget(&input);
    vt_buf_fini(&out);
    return x.status;
}

static void refused(struct vt_sftp *s, const struct vt_buf *said, int status)
{
    char shown[120], text[200];
    size_t n = said->len, at;
    while (n > 0 && (said->data[n - 1] == '\n' || said->data[n - 1] == '\r'))
        n--;
    for (at = n; at > 0 && said->data[at - 1] != '\n'; at--)
        ;                           /* the last line tells most */
    vt_show(said->data != NULL ? said->data + at : "", n - at, shown, sizeof shown);
    if (status == NOT_FOUND)
        snprintf(text, sizeof text, "the server has no sudo");
    else
        snprintf(text, sizeof text, "sudo does not let us: %s", shown[0] != '\0' ? shown : "without a word");
    vt_sftp_stop(s, VT_REMOTE, 0, text);
}

static bool is_root(struct vt_sftp *s, struct vt_buf *said)
{
    return try(s, "exec sh -c 'if [ \"$(id -u)\" = 0 ]; then exit 3; fi'", said) == IS_ROOT;
}

/* One way to be root, tried with the program that is to be run. */
static int try_as(struct vt_sftp *s, enum vt_sudo how, bool sftp, struct vt_buf *said)
{
    s->sudo = how;
    return try(s, sftp ? sftp_commands[how] : sh_commands[how], said);
}

/* With the password; or without, where sudo turns out to let us in and never to have asked. */
static int try_password(struct vt_sftp *s, bool sftp, struct vt_buf *said)
{
    int status = try_as(s, VT_SUDO_ASKED, sftp, said);
    if (!sftp && status == WAS_READ)
        return 0;
    if (s->rc == VT_OK && status == (sftp ? BAD_MESSAGE : NOT_ASKED))
        status = try_as(s, VT_SUDO_UNASKED, sftp, said);
    return status;
}

enum vt_rc vt_sudo_begin(struct vt_sftp *s, bool sftp)
{
    struct vt_buf said;
    vt_buf_init(&said, 64 * 1024);
    bool root = is_root(s, &said);
    int status = s->rc == VT_OK ? try_as(s, root ? VT_SUDO_ROOT : VT_SUDO_FREE, sftp, &said) : 0;
    bool may_ask = !root && status != 0 && status != NO_SERVER && status != NOT_FOUND && s->sudo_password != NULL;
    if (s->rc == VT_OK && may_ask)
        status = try_password(s, sftp, &said);
    if (s->rc == VT_OK && sftp && status == NO_SERVER)
        vt_sftp_stop(s, VT_UNSUPPORTED, 0, "the server has no sftp-server in a known place");
    else if (s->rc == VT_OK && status != 0)
        refused(s, &said, status);
    vt_buf_fini(&said);
    return s->rc;
}

enum vt_rc vt_sudo_send_password(struct vt_sftp *s, bool is_sh, LIBSSH2_CHANNEL *channel)
{
    struct vt_buf text;
    size_t at = 0;
    vt_buf_init(&text, 64 * 1024);
    enum vt_rc rc = s->rc == VT_OK ? vt_sudo_add_password(s, is_sh, &text) : VT_OK;
    if (rc != VT_OK)
        vt_sftp_stop(s, rc, 0, NULL);
    while (at < text.len && s->rc == VT_OK) {
        uint64_t before = vt_ssh_received(s->ssh);
        vt_ssh_pass(s->ssh);
        ssize_t put = libssh2_channel_write(channel, text.data + at, text.len - at);
        if (put < 0 && put != LIBSSH2_ERROR_EAGAIN)
            vt_sftp_stop(s, VT_EOF, 0, "sudo ended");
        at += put > 0 ? (size_t)put : 0;
        vt_sftp_pause(s, put > 0, before);
    }
    forget(&text);
    return s->rc;
}
