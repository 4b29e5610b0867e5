/* sudo.c - the server's side as root. */
#include "transfer/sudo.h"

#include <stdio.h>
#include <string.h>

#define IS_ROOT 3                   /* exit codes of the commands below */
#define NO_SERVER 9
#define NOT_FOUND 127

/* Where systems have their sftp-server.  Quotes, and no line break, for any login shell. */
#define SFTP_SERVER(how)                                                                             \
    "exec sh -c 'for s in /usr/lib/openssh/sftp-server /usr/libexec/openssh/sftp-server"             \
    " /usr/lib/ssh/sftp-server /usr/libexec/sftp-server /usr/libexec/ssh/sftp-server"                \
    " /usr/lib64/ssh/sftp-server /usr/lib/sftp-server /usr/local/libexec/sftp-server"                \
    " /usr/local/lib/openssh/sftp-server; do if [ -x $s ]; then exec " how " $s; fi; done; exit 9'"

#define FREE "sudo -n"
/* -k: it asks, though it was given the password a moment ago. What it did not read would be the command's input. */
#define ASKED "sudo -k -S -p \"\""

static const char *const sftp_commands[] = {
    [VT_SUDO_ROOT] = SFTP_SERVER(""), [VT_SUDO_FREE] = SFTP_SERVER(FREE), [VT_SUDO_ASKED] = SFTP_SERVER(ASKED),
};
/* HOME: "~" stays whose it is. */
static const char *const sh_commands[] = {
    [VT_SUDO_NO] = "exec sh", [VT_SUDO_ROOT] = "exec sh", [VT_SUDO_FREE] = "exec " FREE " env HOME=\"$HOME\" sh",
    [VT_SUDO_ASKED] = "exec " ASKED " env HOME=\"$HOME\" sh",
};

const char *vt_sudo_sftp(const struct vt_sftp *s)
{
    return sftp_commands[s->sudo];
}

const char *vt_sudo_sh(const struct vt_sftp *s)
{
    return sh_commands[s->sudo];
}

bool vt_sudo_needs_password(const struct vt_sftp *s)
{
    return s->sudo == VT_SUDO_ASKED;
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

/* The exit code of a command that is given a first line, and then the end of its input. */
static int try(struct vt_sftp *s, const char *command, const char *password, struct vt_buf *said)
{
    struct vt_buf input, out;
    struct vt_err e = {0};
    vt_buf_init(&input, 64 * 1024);
    vt_buf_init(&out, 64 * 1024);
    vt_buf_clear(said);
    struct vt_ssh_exec x = {.command = command, .out = &out, .err = said, .status = -1};
    enum vt_rc rc = password != NULL ? vt_buf_addf(&input, "%s\n", password) : VT_OK;
    x.input = input.data;
    x.input_len = input.len;
    if (rc == VT_OK)
        rc = vt_ssh_exec_run(s->ssh, &x, s->w, s->deadline, &e);
    if (rc != VT_OK)
        vt_sftp_stop(s, rc, e.sys, e.text[0] != '\0' ? e.text : NULL);
    if (input.data != NULL)
        explicit_bzero(input.data, input.len);
    vt_buf_fini(&input);
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
    return try(s, "exec sh -c 'if [ \"$(id -u)\" = 0 ]; then exit 3; fi'", NULL, said) == IS_ROOT;
}

enum vt_rc vt_sudo_begin(struct vt_sftp *s, bool sftp)
{
    struct vt_buf said;
    const char *const *commands = sftp ? sftp_commands : sh_commands;
    int status = 0;
    vt_buf_init(&said, 64 * 1024);
    if (is_root(s, &said)) {
        s->sudo = VT_SUDO_ROOT;
        status = try(s, commands[s->sudo], NULL, &said);
    } else if (s->rc == VT_OK) {
        s->sudo = VT_SUDO_FREE;
        status = try(s, commands[s->sudo], NULL, &said);
        bool may_ask = status != 0 && status != NO_SERVER && status != NOT_FOUND && s->sudo_password != NULL;
        if (s->rc == VT_OK && may_ask) {
            s->sudo = VT_SUDO_ASKED;
            status = try(s, commands[s->sudo], s->sudo_password, &said);
        }
    }
    if (s->rc == VT_OK && sftp && status == NO_SERVER)
        vt_sftp_stop(s, VT_UNSUPPORTED, 0, "the server has no sftp-server in a known place");
    else if (s->rc == VT_OK && status != 0)
        refused(s, &said, status);
    vt_buf_fini(&said);
    return s->rc;
}

enum vt_rc vt_sudo_send_password(struct vt_sftp *s, LIBSSH2_CHANNEL *channel)
{
    size_t at = 0;
    if (!vt_sudo_needs_password(s) || s->rc != VT_OK)
        return s->rc;
    size_t n = strlen(s->sudo_password);
    while (at <= n && s->rc == VT_OK) {         /* and the line's end */
        uint64_t before = vt_ssh_received(s->ssh);
        vt_ssh_pass(s->ssh);
        ssize_t put = libssh2_channel_write(channel, at < n ? s->sudo_password + at : "\n", at < n ? n - at : 1);
        if (put < 0 && put != LIBSSH2_ERROR_EAGAIN)
            vt_sftp_stop(s, VT_EOF, 0, "sudo ended");
        at += put > 0 ? (size_t)put : 0;
        vt_sftp_pause(s, put > 0, before);
    }
    return s->rc;
}
