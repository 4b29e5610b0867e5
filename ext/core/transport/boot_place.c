/* boot_place.c - the places of a process: what is known of them, and what is kept open. */
#include "transport/boot_place.h"

#include "base/ascii.h"
#include "transport/resolve.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST 256                        /* places that nobody told of; the oldest are forgotten */

/* ---- all of them ---- */

struct vt_places *vt_places_new(void)
{
    struct vt_places *all = calloc(1, sizeof *all);
    if (all == NULL)
        return NULL;
    pthread_mutex_init(&all->mutex, NULL);
    all->pid = getpid();
    all->pace = 1;
    return all;
}

struct vt_half vt_place_take_half(struct vt_place *place, int i)
{
    struct vt_half half = place->halves[i].half;
    place->half_count--;
    memmove(place->halves + i, place->halves + i + 1, (size_t)(place->half_count - i) * sizeof *place->halves);
    return half;
}

static void drop_half(struct vt_place *place, int i)
{
    struct vt_half half = vt_place_take_half(place, i);
    half.drop(half.what);
}

void vt_place_give_up(struct vt_place *place, const struct vt_half *half, vt_time now)
{
    if (half->is_in)
        return;
    vt_known_dropped(&place->known, now);
    place->why = VT_TIMEOUT;
    place->stage = half->is_shaken ? VT_STAGE_AUTH : VT_STAGE_KEX;
    snprintf(place->words, sizeof place->words, "no answer in time to the %s",
             half->is_shaken ? "authentication" : "key exchange");
}

void vt_place_drop_halves(struct vt_place *place)
{
    while (place->half_count > 0)
        drop_half(place, 0);
}

void vt_place_drop_kept(struct vt_place *place)
{
    vt_conns_free(place->kept);
    place->kept = NULL;
    vt_place_drop_halves(place);
}

static void place_free(struct vt_place *place)
{
    vt_place_drop_kept(place);
    free(place);
}

void vt_places_free(struct vt_places *all)
{
    if (all == NULL)
        return;
    vt_places_drop(all);
    while (all->list != NULL) {
        struct vt_place *place = all->list;
        all->list = place->next;
        place_free(place);
    }
    pthread_mutex_destroy(&all->mutex);
    free(all);
}

/* What the parent's threads had is theirs: the child closes its copies, no more. */
static void leave_parent(struct vt_places *all)
{
    pthread_mutex_init(&all->mutex, NULL);
    all->pid = getpid();
    for (struct vt_place *p = all->list; p != NULL; p = p->next) {
        for (struct vt_boot_wait *w = p->waits; w != NULL; w = w->next) {
            for (int i = 0; i < VT_TRIES; i++)
                vt_conns_drop(w->open, i);
            close(w->wake_fd);
        }
        p->waits = NULL;
        vt_place_drop_kept(p);
    }
}

void vt_places_lock(struct vt_places *all)
{
    if (all->pid != getpid())
        leave_parent(all);
    pthread_mutex_lock(&all->mutex);
}

void vt_places_unlock(struct vt_places *all)
{
    pthread_mutex_unlock(&all->mutex);
}

void vt_places_drop(struct vt_places *all)
{
    vt_places_lock(all);
    for (struct vt_place *p = all->list; p != NULL; p = p->next) {
        vt_place_drop_kept(p);
    }
    vt_places_unlock(all);
}

void vt_places_pace(struct vt_places *all, int pace)
{
    all->pace = pace > 0 ? pace : 1;
}

vt_time vt_places_now(const struct vt_places *all)
{
    return vt_now() * all->pace;
}

vt_time vt_places_real(const struct vt_places *all, vt_time planned)
{
    return planned == VT_FOREVER ? VT_FOREVER : planned / all->pace + (all->pace > 1);
}

/* When something of the place is to be closed; closes it if that is now. */
static vt_time expire(struct vt_place *p, vt_time now)
{
    vt_time next = VT_FOREVER;
    if (p->kept != NULL && now >= p->kept_at + VT_KEEP) {
        vt_conns_free(p->kept);
        p->kept = NULL;
    }
    while (p->half_count > 0 && now >= p->halves[0].at + VT_KEEP) {
        vt_place_give_up(p, &p->halves[0].half, now);
        drop_half(p, 0);
    }
    if (p->kept != NULL)
        next = p->kept_at + VT_KEEP;
    return p->half_count > 0 && p->halves[0].at + VT_KEEP < next ? p->halves[0].at + VT_KEEP : next;
}

vt_time vt_places_expire(struct vt_places *all)
{
    vt_time next = VT_FOREVER;
    vt_places_lock(all);
    vt_time now = vt_places_now(all);
    for (struct vt_place *p = all->list; p != NULL; p = p->next) {
        vt_time due = expire(p, now);
        next = due < next ? due : next;
    }
    vt_places_unlock(all);
    return vt_places_real(all, next);
}

/* ---- one ---- */

static struct vt_place *find(struct vt_places *all, const char *host, int port, bool by_alias)
{
    for (struct vt_place **link = &all->list; *link != NULL; link = &(*link)->next) {
        struct vt_place *p = *link;
        bool is_it = vt_same_name(p->host, host) || (by_alias && vt_same_name(p->alias, host));
        if (p->port != port || !is_it)
            continue;
        *link = p->next;                /* to the front: used last, forgotten last */
        p->next = all->list;
        return all->list = p;
    }
    return NULL;
}

struct vt_place *vt_place_find(struct vt_places *all, const char *host, int port)
{
    return find(all, host, port, false);
}

struct vt_place *vt_place_of_login(struct vt_places *all, const char *host, int port)
{
    return find(all, host, port, true);
}

/* The one that was not used for longest, of those that can be done without. */
static void forget_one(struct vt_places *all)
{
    struct vt_place **last = NULL;
    for (struct vt_place **link = &all->list; *link != NULL; link = &(*link)->next)
        if (!(*link)->told && (*link)->waits == NULL)
            last = link;
    if (last == NULL)
        return;
    struct vt_place *p = *last;
    *last = p->next;
    all->count--;
    place_free(p);
}

struct vt_place *vt_place_make(struct vt_places *all, const char *host, int port, bool forwarded)
{
    if (all->count >= MOST)
        forget_one(all);
    struct vt_place *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    snprintf(p->host, sizeof p->host, "%s", host);
    p->port = p->guest_port = port;
    vt_known_init(&p->known, forwarded, false, vt_places_now(all));
    p->next = all->list;
    all->list = p;
    all->count++;
    return p;
}

void vt_place_news(struct vt_place *place)
{
    uint64_t one = 1;
    for (struct vt_boot_wait *w = place->waits; w != NULL; w = w->next)
        while (write(w->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
            ;
}

/* ---- what is told ---- */

static bool numeric(const char *host, int port, struct sockaddr_storage *to, socklen_t *len)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    char service[16];
    snprintf(service, sizeof service, "%d", port);
    if (port < 1 || port > 65535 || getaddrinfo(host, service, &hints, &found) != 0)
        return false;
    memcpy(to, found->ai_addr, found->ai_addrlen);
    *len = found->ai_addrlen;
    freeaddrinfo(found);
    return true;
}

enum vt_rc vt_places_tell(struct vt_places *all, const char *host, int port, bool forwarded,
                          const char *canary_host, int canary_port, int guest_port)
{
    struct sockaddr_storage canary = {0};
    socklen_t canary_len = 0;
    if (port < 1 || port > 65535 || strlen(host) >= sizeof ((struct vt_place *)NULL)->host
        || (canary_port != 0 && !numeric(canary_host, canary_port, &canary, &canary_len)))
        return VT_INVALID;
    vt_places_lock(all);
    struct vt_place *p = vt_place_find(all, host, port);
    if (p == NULL)
        p = vt_place_make(all, host, port, forwarded);
    if (p != NULL) {
        p->told = true;
        p->guest_port = guest_port > 0 ? guest_port : port;
        p->canary = canary;
        p->canary_len = canary_len;
        p->known.forwarded = forwarded;
        p->known.has_canary = canary_len > 0;
    }
    vt_places_unlock(all);
    return p == NULL ? VT_NOMEM : VT_OK;
}

/* The place if somebody told of it; with the lock. */
static struct vt_place *told(struct vt_places *all, const char *host, int port)
{
    struct vt_place *p = vt_place_find(all, host, port);
    return p != NULL && p->told ? p : NULL;
}

void vt_places_alive(struct vt_places *all, const char *host, int port)
{
    vt_places_lock(all);
    struct vt_place *p = told(all, host, port);
    if (p != NULL && p->known.alive == VT_NEVER) {
        vt_known_alive(&p->known, vt_places_now(all));
        vt_place_news(p);
    }
    vt_places_unlock(all);
}

void vt_places_reset(struct vt_places *all, const char *host, int port, bool is_up)
{
    vt_places_lock(all);
    struct vt_place *p = told(all, host, port);
    if (p != NULL) {
        vt_known_reset(&p->known, vt_places_now(all), is_up);
        p->why = VT_OK;
        for (struct vt_boot_wait *w = p->waits; w != NULL; w = w->next)
            w->was_reset = true;
        if (p->kept != NULL)
            vt_plan_restart(&p->kept->plan);
        vt_place_drop_halves(p);
        vt_place_news(p);
    }
    vt_places_unlock(all);
}

void vt_places_forget(struct vt_places *all, const char *host, int port)
{
    vt_places_lock(all);
    struct vt_place *p = told(all, host, port);
    if (p != NULL) {
        vt_place_drop_kept(p);
        p->told = false;
        p->canary_len = 0;
        vt_known_init(&p->known, p->known.forwarded, false, vt_places_now(all));
    }
    if (p != NULL && p->waits == NULL) {
        all->list = p->next;            /* it was just found: the first */
        all->count--;
        place_free(p);
    }
    vt_places_unlock(all);
}

/* ---- what is open ---- */

struct vt_conns *vt_conns_new(struct vt_place *place)
{
    struct vt_conns *c = calloc(1, sizeof *c);
    if (c != NULL)
        c->plan.known = &place->known;
    return c;
}

void vt_conns_drop(struct vt_conns *c, int slot)
{
    if (c->plan.tries[slot].open) {
        close(c->list[slot].fd);
        vt_buf_fini(&c->list[slot].head);
    }
    vt_plan_close(&c->plan, slot);
}

void vt_conns_free(struct vt_conns *c)
{
    for (int i = 0; c != NULL && i < VT_TRIES; i++)
        vt_conns_drop(c, i);
    free(c);
}

void vt_conns_move(struct vt_conns *to, struct vt_conns *from)
{
    for (int i = 0; i < VT_TRIES; i++) {
        int slot = from->plan.tries[i].open ? vt_plan_adopt(&to->plan, &from->plan.tries[i]) : -1;
        if (slot < 0)
            continue;
        to->list[slot] = from->list[i];
        vt_plan_close(&from->plan, i);
    }
    to->plan.owed += from->plan.owed;
}
