/* boot_after.c - behind the banner: logins that are not ended, and what each tells of its place. */
#include "transport/boot_place.h"

#include <stdio.h>

#define STEP_MAX (120 * VT_SEC)         /* of a login; OpenSSH gives all of it no longer (LoginGraceTime) */

/* One of a guest that was reset, of which nobody told, would be silent for ever.  Behind the key exchange a
 * server may be silent for long, too: it asks another one whether the password is right. */
static bool is_dead(const struct vt_places *all, const struct vt_place *p, const struct vt_half *half)
{
    vt_time now = vt_places_now(all), patience = half->is_shaken ? STEP_MAX : VT_KEEP;
    return half->since * all->pace < p->known.reset || now - half->heard * all->pace >= patience
        || now - half->reached * all->pace >= STEP_MAX;
}

void vt_boot_keep_half(struct vt_places *all, const char *host, int port, const struct vt_half *half)
{
    struct vt_half drop = *half;
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL && !is_dead(all, p, half)) {
        drop = p->half_count == VT_HALVES ? vt_place_take_half(p, 0) : (struct vt_half){0};
        p->halves[p->half_count].half = *half;
        p->halves[p->half_count++].at = vt_places_now(all);
    }
    if (p != NULL && drop.what != NULL && drop.since * all->pace >= p->known.reset)
        vt_place_give_up(p, &drop, vt_places_now(all));
    vt_places_unlock(all);
    if (drop.what != NULL)
        drop.drop(drop.what);
}

void *vt_boot_take_half(struct vt_places *all, const char *host, int port, vt_fits_fn fits, const void *ctx)
{
    struct vt_half half = {0};
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    for (int i = 0; p != NULL && half.what == NULL && i < p->half_count; i++)
        if (fits(p->halves[i].half.what, ctx))
            half = vt_place_take_half(p, i);
    vt_places_unlock(all);
    return half.what;
}

bool vt_boot_is_current(struct vt_places *all, const char *host, int port, vt_time since)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    bool is = p == NULL || since * all->pace >= p->known.reset;
    vt_places_unlock(all);
    return is;
}

void vt_boot_let_in(struct vt_places *all, const char *host, int port)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL) {
        vt_known_let_in(&p->known);
        vt_place_news(p);
    }
    vt_places_unlock(all);
}

void vt_boot_dropped(struct vt_places *all, const char *host, int port, const struct vt_err *e)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_of_login(all, host, port);
    if (p != NULL) {
        vt_known_dropped(&p->known, vt_places_now(all));
        p->why = e->rc;
        p->stage = e->stage;
        snprintf(p->words, sizeof p->words, "%.190s", e->text);
    }
    vt_places_unlock(all);
}
