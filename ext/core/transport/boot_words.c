/* boot_words.c - what a guest that may still boot is waited for, and why nobody waits any longer, in words. */
#include "transport/boot_wait.h"

#include <stdio.h>

enum vt_rc vt_boot_say_why(const struct vt_place *place, struct vt_err *e)
{
    if (place->why == VT_LATER)
        return vt_fail(e, VT_LATER, VT_STAGE_BANNER, 0,
                       "the server refuses us for now (too many connections or refused logins): %s", place->words);
    if (place->why == VT_BANNER)
        return vt_fail(e, VT_BANNER, VT_STAGE_BANNER, 0, "the peer is no SSH server, it said: %s", place->words);
    return vt_fail(e, place->why, place->stage, 0, "%s", place->words);
}

static double waited(const struct vt_place *place, vt_time now)
{
    vt_time since = place->known.waiting;
    return since == VT_NEVER ? 0 : (double)(now - since) / 1e9;
}

static void awaits_in_words(const struct vt_place *place, const struct vt_plan *plan, vt_time now, char *text,
                            size_t cap)
{
    static const char *const words[] = {
        [VT_AWAITS_LIFE] = "no sign of life yet",
        [VT_AWAITS_NETWORK] = "signs of life, but the network is not up yet",
        [VT_AWAITS_BANNER] = "connected, but no SSH banner came",
        [VT_AWAITS_ANSWER] = "no answer to the connection",
    };
    enum vt_awaits what = vt_plan_awaits(plan, now);
    if (what == VT_AWAITS_LIFE && !place->told)
        what = VT_AWAITS_BANNER;        /* nobody could give a sign */
    if (what == VT_AWAITS_LISTENER)
        snprintf(text, cap, "the network is up, nobody listens on port %d", place->guest_port);
    else if (what == VT_AWAITS_LEAVE)
        snprintf(text, cap, "refused for now: %.100s",
                 place->why == VT_LATER ? "too many connections" : place->words);
    else
        snprintf(text, cap, "%s", words[what]);
}

enum vt_rc vt_boot_timed_out(struct vt_boot *b)
{
    char words[160];
    vt_time now = vt_boot_now(b);
    const struct vt_known *k = &b->place->known;
    if (b->place->why != VT_OK && k->later != VT_NEVER && now <= k->later + VT_SEC)
        return vt_boot_say_why(b->place, b->e);
    awaits_in_words(b->place, &b->open->plan, now, words, sizeof words);
    return vt_fail(b->e, VT_TIMEOUT, b->good < 0 ? VT_STAGE_CONNECT : VT_STAGE_BANNER, 0,
                   "%s (%.0f s; connections: %d, closed by the peer: %d)", words, waited(b->place, now), b->place->tries,
                   b->place->hang_ups);
}

bool vt_places_awaits(struct vt_places *all, const char *host, int port, char *words, size_t cap, double *seconds)
{
    vt_places_lock(all);
    struct vt_place *p = vt_place_find(all, host, port);
    struct vt_conns *open = p == NULL ? NULL : p->waits != NULL ? p->waits->open : p->kept;
    bool found = open != NULL && p->known.waiting != VT_NEVER;
    if (found) {
        vt_time now = vt_places_now(all);
        awaits_in_words(p, &open->plan, now, words, cap);
        *seconds = waited(p, now);
    }
    vt_places_unlock(all);
    return found;
}
