/* job.c - counting, failures of single files, progress. */
#include "transfer/job.h"

#include "base/ascii.h"
#include "transfer/sftp_ask.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TELL_EVERY (100 * VT_MS)
#define RECONNECT (3 * VT_SEC)
#define CLEAN_UP_EACH (25 * VT_MS)          /* more for each thing */
#define RETRY_EVERY (250 * VT_MS)

void vt_job_init(struct vt_job *j, struct vt_ssh *ssh, const struct vt_transfer_options *o,
                 struct vt_waiter *w, vt_time deadline, struct vt_transfer_result *r, struct vt_err *e)
{
    memset(r, 0, sizeof *r);
    j->o = o;
    j->r = r;
    j->e = e;
    vt_sftp_init(&j->s, ssh, o->stall > 0 ? (vt_time)(o->stall * 1e9) : VT_FOREVER, w, deadline, e);
    j->s.wants_sudo = o->sudo;
    j->s.sudo_password = o->sudo_password;
}

enum vt_rc vt_job_begin(struct vt_job *j, struct vt_ssh *ssh, const struct vt_transfer_options *o,
                        struct vt_waiter *w, vt_time deadline, struct vt_transfer_result *r, struct vt_err *e)
{
    vt_job_init(j, ssh, o, w, deadline, r, e);
    r->engine = "sftp";
    return vt_sftp_open(&j->s);
}

void vt_job_fail(struct vt_job *j, const char *name, uint64_t at, enum vt_rc rc, int sys, const char *text)
{
    char shown[160], words[512];
    if (j->r->failures++ > 0)
        return;
    snprintf(words, sizeof words, "%s", text);
    vt_sftp_hide(&j->s, words);
    snprintf(j->r->failed, sizeof j->r->failed, "%s", name);
    j->r->failed_at = at;
    size_t n = strlen(name);
    bool cut = n > 120;             /* a name's end tells more than its beginning */
    vt_show(cut ? name + n - 120 : name, cut ? 120 : n, shown, sizeof shown);
    j->first = vt_fail(j->e, rc, VT_STAGE_TRANSFER, sys, "%s%s: %s", cut ? "..." : "", shown, words);
}

void vt_job_refused(struct vt_job *j, const char *name, uint64_t at, const struct vt_sftp_reply *reply)
{
    char said[80] = "", text[160];
    const char *meaning = vt_fx_text(reply->status);
    if (reply->message.n > 0)
        vt_show(reply->message.p, reply->message.n, said, sizeof said);
    bool same = said[0] == '\0' || vt_same_name(said, meaning);
    snprintf(text, sizeof text, "the server said: %s%s%s%s", meaning, same ? "" : " (", same ? "" : said,
             same ? "" : ")");
    bool first = j->r->failures == 0;
    vt_job_fail(j, name, at, VT_REMOTE, 0, text);
    if (first && j->e != NULL)
        j->e->lib = (int)reply->status;
}

void vt_job_no_folder(struct vt_job *j, const char *target)
{
    vt_sftp_stop(&j->s, VT_REMOTE, 0, "no such folder");
    if (j->e != NULL)
        j->e->lib = VT_FX_NO_SUCH_FILE;
    vt_job_stopped_at(j, target, 0);
}

/* Once something has ended the transfer nobody is told more: the watcher's own exception may
 * be that end, and must not be disturbed. */
static void tell(struct vt_job *j, const char *name)
{
    if (j->s.rc != VT_OK || j->ended != VT_OK)
        return;
    uint64_t total = j->total > j->r->bytes ? j->total : j->r->bytes;
    j->told_at = vt_now();
    if (j->o->progress(j->o->ctx, name, j->r->bytes, total) != 0)
        vt_sftp_stop(&j->s, VT_INTR, 0, "stopped");
}

void vt_job_moved(struct vt_job *j, const char *name, uint64_t n)
{
    j->r->bytes += n;
    if (j->o->progress != NULL && vt_now() - j->told_at >= TELL_EVERY)
        tell(j, name);
}

void vt_job_stopped_at(struct vt_job *j, const char *name, uint64_t at)
{
    if (j->r->failed[0] != '\0')
        return;
    snprintf(j->r->failed, sizeof j->r->failed, "%s", name);
    j->r->failed_at = at;
}

void vt_job_left(struct vt_job *j, const char *path)
{
    vt_left_add(&j->r->left, path);
}

bool vt_job_goes_on(struct vt_job *j)
{
    enum vt_rc rc = j->s.rc == VT_OK ? vt_wait_check(j->s.w, j->s.deadline) : VT_OK;
    if (rc != VT_OK)
        vt_sftp_stop(&j->s, rc, 0, vt_sftp_in_words(rc));
    return j->s.rc == VT_OK;
}

enum vt_rc vt_job_cleaned(struct vt_job *j, const struct vt_clean_up *c, enum vt_rc rc)
{
    return c->ended == VT_OK ? rc : vt_fail(j->e, c->ended, VT_STAGE_TRANSFER, 0, NULL);
}

bool vt_job_revive(struct vt_job *j, size_t things)
{
    j->ended = j->s.rc;
    return vt_sftp_revive(&j->s, &j->undisturbed, vt_clean_up_until(j->ended, things));
}

bool vt_job_revive_connection(struct vt_job *j, size_t things)
{
    vt_time until = vt_clean_up_until(j->s.rc, things);
    j->ended = j->s.rc;
    if (j->s.rc == VT_EOF || j->s.rc == VT_IO)
        return false;
    j->s.rc = VT_OK;
    j->s.e = NULL;
    j->s.w = &j->undisturbed;
    j->s.deadline = until;
    j->s.stall = VT_FOREVER;
    return true;
}

bool vt_job_reconnect(struct vt_job *j, size_t things)
{
    if (j->o->login == NULL || j->again != NULL || (j->ended != VT_EOF && j->ended != VT_IO))
        return false;
    struct vt_ssh_options login = *j->o->login;
    login.hedge = false;            /* a server that is gone is not waited for */
    enum vt_sudo sudo = j->s.sudo;
    vt_sftp_close(&j->s);
    vt_time until = vt_now() + RECONNECT + (vt_time)(things < 100 ? things : 100) * CLEAN_UP_EACH;
    /* A server that was restarted, or has one login too many, may listen in a moment. */
    for (vt_time next; vt_ssh_login(&login, &j->undisturbed, until, &j->again, NULL) != VT_OK; ) {
        next = vt_now() + RETRY_EVERY;
        if (next > until || vt_sleep(&j->undisturbed, next) != VT_TIMEOUT)
            return false;
    }
    vt_sftp_init(&j->s, j->again, VT_FOREVER, &j->undisturbed, until, NULL);
    j->s.sudo = sudo;
    j->s.sudo_password = j->o->sudo_password;
    return true;
}

void vt_job_fini(struct vt_job *j)
{
    vt_sftp_close(&j->s);
    vt_ssh_free(j->again, false);
}

enum vt_rc vt_job_end(struct vt_job *j)
{
    if (j->o->progress != NULL)
        tell(j, "");
    return j->ended != VT_OK ? j->ended : j->s.rc != VT_OK ? j->s.rc : j->first;
}

char *vt_job_copy(struct vt_job *j, const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        vt_sftp_stop(&j->s, VT_NOMEM, 0, NULL);
    return copy;
}

char *vt_job_join(struct vt_job *j, const char *folder, const char *name)
{
    struct vt_buf b;
    vt_buf_init(&b, 64 * 1024);
    if (vt_path_join(&b, folder, name) == VT_OK)
        return b.data;
    vt_buf_fini(&b);
    vt_sftp_stop(&j->s, VT_NOMEM, 0, NULL);
    return NULL;
}
