/* Waiting for a guest that boots: boots of any length against QEMU's user networking, by a
 * clock that is turned by hand.  What counts is what the guest saw, not how long a test takes. */
#include "transport/boot_plan.h"

#include "check.h"

#include <stdlib.h>

#define MOST 4096
#define LAST_SYN (75 * VT_SEC)

/* How the guest boots; instants since the machine was switched on. */
struct guest {
    vt_time network, sshd;          /* address set; sshd listens */
    vt_time sign;                   /* `login: ` on the console, or the first frame; VT_NEVER: none */
    vt_time banner;                 /* what a banner takes */
    bool mute;                      /* a firewall drops what nobody listens for */
    vt_time canary_takes;           /* its refusals, on a starved host */
};

/* A connection as libslirp has it: accepted at once, the guest is asked at 0, 6, 18, 30... s. */
struct pending {
    enum { GONE, ASKING, ANSWERED, REFUSED } state;
    bool closed;                    /* by us: handed on all the same */
    int slot;                       /* of the plan */
    bool canary;
    vt_time since, next, answered;
};

struct machine {
    struct guest g;
    struct vt_known known;
    struct vt_plan plan;
    struct pending list[MOST];
    int count;
    vt_time now, each;              /* each: a login's own timeout */
    vt_time answered[MOST];         /* the guest's sshd saw a connection then */
    int seen, canaries, opened;
    vt_time won;                    /* the guest accepted the one that won; VT_NEVER */
};

static vt_time ready(const struct guest *g)
{
    return g->network > g->sshd ? g->network : g->sshd;
}

static void ask(struct machine *m, struct pending *c)
{
    vt_time age = m->now - c->since;
    c->next = m->now + (age < 6 * VT_SEC ? 6 : 12) * VT_SEC;
    if (c->next > c->since + LAST_SYN)
        c->next = c->since + LAST_SYN;
    if (m->now < m->g.network || (c->canary && m->g.mute))
        return;
    bool refused = c->canary || m->now < m->g.sshd;
    c->state = refused ? REFUSED : ANSWERED;
    c->answered = m->now;
    c->next = m->now + (refused ? 2 * VT_MS + (c->canary ? m->g.canary_takes : 0) : m->g.banner);
    if (!refused && m->seen < MOST)
        m->answered[m->seen++] = m->now;
}

/* What is due of a connection. */
static void act(struct machine *m, struct pending *c)
{
    if (c->state == ASKING && m->now < c->since + LAST_SYN) {
        ask(m, c);
        return;
    }
    if (c->state == ANSWERED && !c->closed) {
        vt_plan_won(&m->plan, c->slot);
        m->won = c->answered;
    } else if (!c->closed) {
        vt_plan_hung_up(&m->plan, c->slot, m->now);
    }
    c->state = GONE;
}

static void open_one(struct machine *m, enum vt_sort sort)
{
    int slot = vt_plan_opened(&m->plan, sort, m->now);
    struct pending *c = &m->list[m->count++];
    m->canaries += sort == VT_CANARY;
    m->opened += sort != VT_CANARY;
    *c = (struct pending){ASKING, false, slot, sort == VT_CANARY, m->now, m->now, 0};
    vt_plan_connected(&m->plan, slot, m->now);
}

static void close_one(struct machine *m, int slot)
{
    for (int i = 0; i < m->count; i++)
        if (m->list[i].slot == slot && m->list[i].state != GONE)
            m->list[i].closed = true;
    vt_plan_close(&m->plan, slot);
}

/* Another login: what is open stays. */
static void log_in_anew(struct machine *m)
{
    struct vt_plan old = m->plan;
    vt_plan_end(&m->plan, m->now);
    m->plan = (struct vt_plan){.known = &m->known};
    vt_plan_begin(&m->plan, m->now);
    for (int i = 0; i < VT_TRIES; i++) {
        if (!old.tries[i].open)
            continue;
        int slot = vt_plan_adopt(&m->plan, &old.tries[i]);
        for (int j = 0; j < m->count; j++)
            if (m->list[j].slot == i && m->list[j].state != GONE && !m->list[j].closed && slot != i)
                m->list[j].slot = slot;     /* adopted in order, so never a slot that comes yet */
    }
}

static vt_time next_event(struct machine *m, struct pending **which)
{
    vt_time soonest = VT_FOREVER;
    for (int i = 0; i < m->count; i++) {
        struct pending *c = &m->list[i];
        if (c->state != GONE && c->next < soonest) {
            soonest = c->next;
            *which = c;
        }
    }
    return soonest;
}

static void tick(struct machine *m, vt_time *login_ends, vt_time end)
{
    struct vt_step step = vt_plan_next(&m->plan, m->now);
    if (step.move == VT_MOVE_OPEN) {
        open_one(m, step.sort);
        return;
    }
    if (step.move == VT_MOVE_CLOSE) {
        close_one(m, step.slot);
        return;
    }
    struct pending *c = NULL;
    vt_time event = next_event(m, &c), at = event < step.until ? event : step.until;
    at = at < *login_ends ? at : *login_ends;
    bool signs = m->g.sign > m->now && m->g.sign <= at;
    m->now = signs ? m->g.sign : at < end ? at : end;
    if (signs)
        vt_known_alive(&m->known, m->now);
    else if (c != NULL && m->now == event)
        act(m, c);
    else if (m->now == *login_ends) {
        *login_ends += m->each;
        log_in_anew(m);
    }
}

static void run(struct machine *m, vt_time end)
{
    vt_time login_ends = m->now + m->each;
    m->plan = (struct vt_plan){.known = &m->known};
    vt_plan_begin(&m->plan, m->now);
    while (m->won == VT_NEVER && m->now < end && m->count < MOST)
        tick(m, &login_ends, end);
    vt_plan_end(&m->plan, m->now);
}

/* What we gave up reaches the guest, too. */
static void hand_on(struct machine *m)
{
    struct pending *c = NULL;
    for (int i = 0; i < VT_TRIES; i++)
        m->plan.tries[i].open = false;
    for (int i = 0; i < m->count; i++)
        m->list[i].closed = true;
    while (next_event(m, &c) != VT_FOREVER) {
        m->now = c->next;
        act(m, c);
    }
}

/* The most connections that the guest's sshd saw in any 80 s, less the one that won. */
static int most_in_a_window(const struct machine *m)
{
    int most = 0;
    for (int i = 0; i < m->seen; i++) {
        int n = 0;
        for (int j = i; j < m->seen && m->answered[j] < m->answered[i] + VT_WINDOW; j++)
            n++;
        most = n > most ? n : most;
    }
    return most - 1;
}

static struct machine *boot(struct guest g, bool canary, vt_time each)
{
    struct machine *m = calloc(1, sizeof *m);
    m->g = g;
    m->each = each;
    m->won = VT_NEVER;
    vt_known_init(&m->known, true, canary, 0);
    run(m, ready(&g) + 200 * VT_SEC);
    return m;
}

static const vt_time boots[] = {0, VT_SEC / 10, VT_SEC, 29 * VT_SEC / 10, 5 * VT_SEC, 58 * VT_SEC / 10,
                                61 * VT_SEC / 10,
                                8 * VT_SEC, 15 * VT_SEC, 186 * VT_SEC / 10, 25 * VT_SEC, 40 * VT_SEC, 60 * VT_SEC,
                                745 * VT_SEC / 10, 77 * VT_SEC, 90 * VT_SEC, 100 * VT_SEC, 163 * VT_SEC, 300 * VT_SEC};
#define BOOTS (sizeof boots / sizeof *boots)
static const vt_time logins[] = {2 * VT_SEC, 10 * VT_SEC, 25 * VT_SEC, 1000 * VT_SEC};
#define LOGINS (sizeof logins / sizeof *logins)
/* sshd before the network, with it, and behind it */
static const vt_time lags[] = {-4 * VT_SEC, 0, 3 * VT_SEC / 10, 15 * VT_SEC / 10, 20 * VT_SEC};
#define LAGS (sizeof lags / sizeof *lags)

struct bounds {
    vt_time late;
    int wasted, wasted_long;        /* connections; the latter for boots of two minutes and more */
    vt_time late_early;             /* for boots below 3.5 s, if that is another one */
};


/* Every boot with every pause between network and sshd and every login's timeout. */
static void sweep(struct guest g, bool canary, vt_time sign, struct bounds most)
{
    vt_time late = 0;
    int wasted = 0;
    for (size_t i = 0; i < BOOTS * LAGS * LOGINS; i++) {
        vt_time network = boots[i % BOOTS], lag = lags[i / BOOTS % LAGS];
        g.network = network;
        g.sshd = network + lag;
        g.sign = sign == VT_NEVER ? VT_NEVER : network + sign > 0 ? network + sign : 1;
        struct machine *m = boot(g, canary, logins[i / BOOTS / LAGS]);
        bool in = m->won != VT_NEVER;
        if (!in)
            printf("never in: boot %.1f s, sshd %+.1f s\n", network / 1e9, lag / 1e9);
        CHECK(in);
        vt_time now_late = in ? m->won - ready(&g) : 0;
        hand_on(m);
        int now_wasted = most_in_a_window(m);
        vt_time may_be_late = most.late_early != 0 && ready(&g) < 35 * VT_SEC / 10 ? most.late_early : most.late;
        int allowed = ready(&g) < 120 * VT_SEC ? most.wasted : most.wasted_long;
        CHECK(now_late <= may_be_late && now_wasted <= allowed);
        if (now_late > may_be_late || now_wasted > allowed)
            printf("late %.2f s, wasted %d: boot %.1f s, sshd %+.1f s, login %.0f s, opened %d\n", now_late / 1e9,
                   now_wasted, network / 1e9, lag / 1e9, m->each / 1e9, m->opened);
        late = now_late > late ? now_late : late;
        wasted = now_wasted > wasted ? now_wasted : wasted;
        free(m);
    }
    if (getenv("VIRTVM_SHOW"))
        printf("at most %.2f s late, %d wasted\n", late / 1e9, wasted);
}

static const struct guest usual = {.banner = 200 * VT_MS};

static void test_canary_without_signs(void)
{
    sweep(usual, true, VT_NEVER, (struct bounds){600 * VT_MS, 1, 5, 0});
}

static void test_canary_with_a_sign_just_before_the_network(void)
{
    sweep(usual, true, -200 * VT_MS, (struct bounds){600 * VT_MS, 2, 6, 0});
}

static void test_canary_with_a_sign_long_before_the_network(void)
{
    sweep(usual, true, -35 * VT_SEC, (struct bounds){600 * VT_MS, 7, 7, 0});
}

static void test_canary_that_a_firewall_mutes(void)
{
    struct guest g = usual;
    g.mute = true;
    sweep(g, true, 100 * VT_MS, (struct bounds){2500 * VT_MS, 5, 6, 5300 * VT_MS});
}

/* No console, and a NIC of which QEMU tells nothing: user networking's own pace.  More connections would
 * be given up by every guest whose sign comes late. */
static void test_canary_that_a_firewall_mutes_without_signs(void)
{
    struct guest g = usual;
    g.mute = true;
    sweep(g, true, VT_NEVER, (struct bounds){12 * VT_SEC, 1, 4, 0});
}

static void test_place_of_which_nobody_told_anything(void)
{
    sweep(usual, false, VT_NEVER, (struct bounds){3200 * VT_MS, 7, 7, 0});
}

static void test_slow_banners(void)
{
    struct guest g = usual;
    static const vt_time banners[] = {3 * VT_SEC, 6 * VT_SEC, 9 * VT_SEC, 25 * VT_SEC};
    for (int i = 0; i < 4; i++) {
        g.banner = banners[i];
        sweep(g, true, VT_NEVER, (struct bounds){600 * VT_MS, 4, 7, 0});
    }
}

/* The machine is reset while the guest runs, boots and waits: what was opened before comes in, too. */
static void test_resets(void)
{
    for (size_t i = 0; i < BOOTS * BOOTS; i++) {
        struct guest g = usual;
        g.network = boots[i % BOOTS];
        g.sshd = g.network + VT_SEC;
        struct machine *m = boot(g, true, 10 * VT_SEC);
        m->won = VT_NEVER;
        vt_known_reset(&m->known, m->now, false);
        m->g.network = m->now + boots[i / BOOTS];
        m->g.sshd = m->g.network + VT_SEC;
        vt_time before = m->now;
        for (int j = 0; j < VT_TRIES; j++)
            if (m->plan.tries[j].open)
                close_one(m, j);
        run(m, m->g.sshd + 100 * VT_SEC);
        CHECK(m->won != VT_NEVER && m->won > before && m->won - m->g.sshd <= 600 * VT_MS);
        hand_on(m);
        CHECK(most_in_a_window(m) <= 8);
        free(m);
    }
}

/* Not through user networking: what the guest's server sees is what was accepted. */
static void test_direct_way(void)
{
    for (vt_time up = 0; up < 100 * VT_SEC; up += 777 * VT_MS) {
        struct vt_known k;
        vt_known_init(&k, false, false, 0);
        struct vt_plan p = {.known = &k};
        vt_time now = 0, won = VT_NEVER;
        int slot = -1, tries = 0;
        vt_plan_begin(&p, 0);
        while (won == VT_NEVER && now < 200 * VT_SEC) {
            struct vt_step step = vt_plan_next(&p, now);
            if (step.move == VT_MOVE_CLOSE) {
                vt_plan_close(&p, step.slot);
            } else if (step.move == VT_MOVE_OPEN) {
                slot = vt_plan_opened(&p, step.sort, now);
                tries++;
                if (now >= up) {
                    vt_plan_connected(&p, slot, now);
                    won = now;
                }
            } else {
                now = step.until;
            }
        }
        CHECK(won - up <= 250 * VT_MS);
        CHECK_INT(vt_known_spent(&k, now), 1);
        CHECK(tries <= up / (250 * VT_MS) + 2);
        /* silent from now on: one more after 10 s, no third */
        vt_time silent = now;
        int more = 0;
        while (now < silent + 60 * VT_SEC) {
            struct vt_step step = vt_plan_next(&p, now);
            if (step.move == VT_MOVE_CLOSE) {
                vt_plan_close(&p, step.slot);
            } else if (step.move == VT_MOVE_OPEN) {
                CHECK(now >= silent + 10 * VT_SEC);
                vt_plan_connected(&p, vt_plan_opened(&p, step.sort, now), now);
                more++;
            } else {
                now = step.until < silent + 60 * VT_SEC ? step.until : silent + 60 * VT_SEC;
            }
        }
        CHECK_INT(more, 1);
    }
}

/* Beside a silent one the second is not accepted at once, or not at all. */
static void test_second_one_that_is_not_accepted_is_no_storm(void)
{
    struct vt_known k;
    vt_known_init(&k, false, false, 0);
    struct vt_plan p = {.known = &k};
    vt_time now = 0;
    int opened = 0;
    vt_plan_begin(&p, 0);
    vt_plan_connected(&p, vt_plan_opened(&p, VT_FIRST, 0), 0);
    for (int steps = 0; now < 20 * VT_SEC && steps < 1000; steps++) {
        struct vt_step step = vt_plan_next(&p, now);
        if (step.move == VT_MOVE_CLOSE) {
            vt_plan_close(&p, step.slot);
        } else if (step.move == VT_MOVE_OPEN) {
            vt_plan_opened(&p, step.sort, now);
            opened++;
        } else {
            CHECK(step.until > now);
            now = step.until;
        }
    }
    CHECK(now >= 20 * VT_SEC && opened > 0 && opened <= 41);
    CHECK_INT(vt_known_spent(&k, now), 1);
}

static void test_place_that_has_spoken_gets_one(void)
{
    struct machine *m = boot(usual, true, 100 * VT_SEC);
    int canaries = m->canaries, opened = m->opened;
    for (int i = 0; i < 20; i++) {
        m->won = VT_NEVER;
        run(m, m->now + 5 * VT_SEC);
        CHECK(m->won != VT_NEVER);
    }
    CHECK_INT(m->canaries, canaries);
    CHECK_INT(m->opened, opened + 20);
    free(m);
}

static void test_starved_guest_whose_refusals_come_late(void)
{
    struct guest g = usual;
    g.canary_takes = 2 * VT_SEC;
    sweep(g, true, VT_NEVER, (struct bounds){2600 * VT_MS, 8, 8, 0});
}

CHECK_MAIN(TEST(test_canary_without_signs), TEST(test_canary_with_a_sign_just_before_the_network),
           TEST(test_canary_with_a_sign_long_before_the_network), TEST(test_canary_that_a_firewall_mutes),
           TEST(test_canary_that_a_firewall_mutes_without_signs),
           TEST(test_place_of_which_nobody_told_anything), TEST(test_slow_banners), TEST(test_resets),
           TEST(test_direct_way),
           TEST(test_second_one_that_is_not_accepted_is_no_storm), TEST(test_place_that_has_spoken_gets_one),
           TEST(test_starved_guest_whose_refusals_come_late))
