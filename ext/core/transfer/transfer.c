/* transfer.c - which engine a transfer takes. */
#include "transfer/transfer.h"

typedef enum vt_rc (*engine_fn)(struct vt_ssh *, const char *const *, size_t, const char *,
                                const struct vt_transfer_options *, struct vt_waiter *, vt_time,
                                struct vt_transfer_result *, struct vt_err *);

struct call {
    struct vt_ssh *ssh;
    const char *const *sources;
    size_t n;
    const char *target;
    const struct vt_transfer_options *o;
    struct vt_waiter *w;
    vt_time deadline;
    struct vt_transfer_result *r;
    struct vt_err *e;
};

static enum vt_rc call(engine_fn fn, const struct call *c)
{
    return fn(c->ssh, c->sources, c->n, c->target, c->o, c->w, c->deadline, c->r, c->e);
}

static enum vt_rc call_scp(engine_fn fn, const struct call *c)
{
    struct vt_transfer_options o = *c->o;
    struct call scp = *c;
    o.sparse = o.sparse && !o.fills_holes;
    scp.o = &o;
    return call(fn, &scp);
}

/* A server that starts no SFTP has copied nothing yet: then scp. */
static enum vt_rc choose(engine_fn sftp, engine_fn scp, const struct call *c)
{
    if (c->o->engine == VT_ENGINE_SCP)
        return call_scp(scp, c);
    enum vt_rc rc = call(sftp, c);
    if (rc != VT_UNSUPPORTED || c->o->engine == VT_ENGINE_SFTP || c->r->bytes > 0)
        return rc;
    *c->e = (struct vt_err){0};
    return call_scp(scp, c);
}

enum vt_rc vt_transfer_put(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                           const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                           struct vt_transfer_result *r, struct vt_err *e)
{
    return choose(vt_sftp_put, vt_scp_put, &(struct call){ssh, sources, n, target, o, w, deadline, r, e});
}

enum vt_rc vt_transfer_get(struct vt_ssh *ssh, const char *const *sources, size_t n, const char *target,
                           const struct vt_transfer_options *o, struct vt_waiter *w, vt_time deadline,
                           struct vt_transfer_result *r, struct vt_err *e)
{
    return choose(vt_sftp_get, vt_scp_get, &(struct call){ssh, sources, n, target, o, w, deadline, r, e});
}
