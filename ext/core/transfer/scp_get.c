/* scp_get.c - downloads by scp's own protocol, for servers without SFTP.
 *
 * The server's shell expands what is asked for; then one `scp -r -f` after another sends it,
 * as many names at a time as a command line holds.
 */
#include "transfer/scp_get.h"
#include "transfer/plan.h"
#include "transfer/scripts.h"
#include "transfer/sudo.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_MAX (24 * 1024)
#define SOURCES_MAX (64 * 1024 * 1024)      /* of a pattern's names */

static void take_all(struct vt_scp_get *g)
{
    const unsigned char *p = (const unsigned char *)g->c.in.data + g->c.in_at;
    size_t n = g->c.in.len - g->c.in_at;
    while (n > 0 && g->j.s.rc == VT_OK)
        vt_scp_take(g, vt_scp_feed(&g->parser, &p, &n));
    g->c.in_at = g->c.in.len - n;
}

static void ended(struct vt_scp_get *g)
{
    char text[200];
    if (g->j.s.rc != VT_OK)
        return;
    if (!g->anything) {
        vt_scp_complaint(&g->c, "the server has no scp that works", text, sizeof text);
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, text);
    } else if (g->depth > 0 || vt_scp_is_coming(&g->file)) {
        vt_scp_complaint(&g->c, "the server's scp ended too early", text, sizeof text);
        vt_sftp_stop(&g->j.s, VT_EOF, 0, text);
    } else if (g->at < g->end && g->j.r->failures == 0) {
        vt_job_fail(&g->j, g->sources[g->at].path, 0, VT_REMOTE, 0, "the server did not send it");
    }
}

/* Whether the source has the name of one that this command has already: should that one not
 * come, nobody could tell which of the two it is. */
static bool is_repeated(const struct vt_scp_get *g, size_t n)
{
    return g->before[n] != VT_NO_NAME && g->before[n] >= g->at;
}

/* One scp on the server: the sources from g->at on, as many as fit. */
static void run(struct vt_scp_get *g)
{
    struct vt_script command;
    vt_script_init(&command);
    vt_script_addf(&command, "exec scp -r %s-f --", g->j.o->keep_times || g->j.o->update ? "-p " : "");
    for (g->end = g->at; g->end < g->n && command.text.len < COMMAND_MAX && !is_repeated(g, g->end); g->end++) {
        vt_script_add(&command, " ");
        vt_script_word(&command, g->sources[g->end].path);
    }
    vt_sudo_wrap(&g->j.s, &command);
    if (command.rc != VT_OK || vt_buf_add(&command.text, "", 1) != VT_OK)
        vt_sftp_stop(&g->j.s, VT_TOOBIG, 0, NULL);
    g->parser = (struct vt_scp_parser){0};
    g->anything = false;
    if (g->j.s.rc == VT_OK && vt_scp_open(&g->c, &g->j.s, command.text.data) == VT_OK) {
        vt_scp_accept(g);               /* we are ready */
        while (g->j.s.rc == VT_OK && !(g->c.at_end && g->c.in_at == g->c.in.len)) {
            (void)!vt_scp_turn(&g->c);
            take_all(g);
        }
        vt_scp_end_said(g);
        if (g->j.s.rc == VT_OK && g->empty_n > 0 && g->depth == 0 && !vt_scp_is_coming(&g->file))
            vt_scp_settle_empty(g);
        ended(g);
    }
    g->at = g->end;
    vt_script_fini(&command);
}

/* ---- sources ---- */

/* Reads what the shell told into g->sources, failures told already. */
static void read_sources(struct vt_scp_get *g)
{
    struct vt_buf *names = &g->names;
    size_t most = 0;
    names->len -= names->len > 0;   /* the NUL behind all */
    for (size_t i = 0; i < names->len; i++)
        most += names->data[i] == '\0';
    g->sources = calloc(most + 1, sizeof *g->sources);
    if (g->sources == NULL)
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
    if (most == 0 || names->data[names->len - 1] != '\0')
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, "the server has neither SFTP nor a shell that scp could use");
    for (char *at = names->data; g->j.s.rc == VT_OK && at < names->data + names->len; at += strlen(at) + 1) {
        if (at[0] == 'd' || at[0] == 'f')
            g->sources[g->n++] = (struct vt_scp_source){at + 1, at[0]};
        else if (at[0] == 'o')
            vt_job_fail(&g->j, at + 1, 0, VT_IO, 0, "no regular file");
        else if (at[0] == '-')
            vt_job_fail(&g->j, at + 1, 0, VT_REMOTE, 0, "no such file");
        else
            vt_sftp_stop(&g->j.s, VT_PROTO, 0, "the server's shell answered something else");
    }
    if (g->j.s.rc == VT_OK && g->n > 1 && g->into.name != NULL)
        vt_sftp_stop(&g->j.s, VT_INVALID, 0, "several sources need a folder as target");
    if (g->j.s.rc == VT_OK && (g->before = vt_plan_before(g->sources, sizeof *g->sources, g->n)) == NULL)
        vt_sftp_stop(&g->j.s, VT_NOMEM, 0, NULL);
}

static void expand(struct vt_scp_get *g, const char *const *sources, size_t n)
{
    struct vt_script script;
    struct vt_buf err;
    int status = 0;
    vt_script_init(&script);
    vt_buf_init(&err, 1024 * 1024);
    vt_script_sources(&script, sources, n);
    if (vt_shell_run(&g->j.s, &script, &g->names, &err, &status) == VT_OK)
        read_sources(g);
    vt_script_fini(&script);
    vt_buf_fini(&err);
}

/* ---- all of it ---- */

static void open_target(struct vt_scp_get *g, const char *target)
{
    g->target = target;
    enum vt_rc rc = vt_target_open(&g->into, target);
    if (rc == VT_INVALID)
        vt_sftp_stop(&g->j.s, rc, 0, "the target is no file, folder or device");
    else if (rc != VT_OK)
        vt_sftp_stop(&g->j.s, rc, errno, rc == VT_IO ? strerror(errno) : NULL);
    if (rc == VT_IO)
        vt_job_stopped_at(&g->j, target, 0);
}

static void get_fini(struct vt_scp_get *g)
{
    vt_target_close(&g->into);
    free(g->sources);
    free(g->before);
    vt_buf_fini(&g->names);
    vt_scp_close(&g->c);
    vt_job_fini(&g->j);
    free(g);
}

enum vt_rc vt_scp_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                      const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                      struct vt_transfer_result *r, struct vt_err *e)
{
    struct vt_scp_get *g = calloc(1, sizeof *g);
    if (g == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_TRANSFER, 0, NULL);
    g->into.fd = -1;
    g->mask = vt_mask();
    vt_buf_init(&g->names, SOURCES_MAX);
    vt_job_init(&g->j, ssh, o, w, deadline, r, e);
    r->engine = "scp";
    if (o->keep_links)
        vt_sftp_stop(&g->j.s, VT_UNSUPPORTED, 0, "scp cannot receive links as links");
    if (g->j.s.rc == VT_OK)
        open_target(g, target);
    if (g->j.s.rc == VT_OK && o->sudo)
        (void)!vt_sudo_begin(&g->j.s, false);
    if (g->j.s.rc == VT_OK)
        expand(g, sources, n);
    while (g->j.s.rc == VT_OK && g->at < g->n) {
        run(g);
        vt_scp_close(&g->c);
    }
    if (g->j.s.rc == VT_OK && o->sync && fsync(g->into.fd) < 0)
        vt_job_fail(&g->j, target, 0, VT_IO, errno, strerror(errno));
    enum vt_rc rc = vt_scp_drop(g, vt_job_end(&g->j));
    get_fini(g);
    return rc;
}
