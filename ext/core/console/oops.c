/* oops.c - finds what a kernel prints when it crashes or hangs.
 *
 * The log is cut into lines, each line is told by what its message begins with.  A report goes
 * from the message that announces it to the one that ends it; where none does (lockups, stalls,
 * hung tasks) to the end of its stacks.  A panic that follows from an oops belongs to it.
 */
#include "console/oops.h"

#include "base/ascii.h"

#include <string.h>

#define OVERLAP 256             /* of a line too long: what is looked at with its next part, too */
#define MAX_LINES 1024          /* of a report */
#define NEAR_LINES 64           /* between a report and what follows from it */
#define NEAR_US 10000000        /* the same in time */

enum { NONE, OOPS, PANIC, RULED, STALL };

/* What a message begins with; `with` is what must be in it, too. */
static const struct mark {
    const char *text, *with;
    unsigned char kind;
} marks[] = {
    {"Kernel panic - not syncing", NULL, PANIC},
    {"---[ end Kernel panic", NULL, PANIC},
    {"PANIC: ", NULL, OOPS},                            /* double fault, early exception */
    {"BUG: unable to handle ", NULL, OOPS},
    {"BUG: Unable to handle kernel ", NULL, OOPS},      /* powerpc */
    {"BUG: kernel NULL pointer dereference", NULL, OOPS},
    {"BUG: Kernel NULL pointer dereference", NULL, OOPS},
    {"BUG: stack guard page was hit", NULL, OOPS},
    {"BUG: TASK stack guard page was hit", NULL, OOPS},
    {"BUG: IRQ stack guard page was hit", NULL, OOPS},
    {"kernel BUG at ", NULL, OOPS},
    {"Kernel BUG at ", NULL, OOPS},
    {"Oops: ", NULL, OOPS},
    {"Oops[#", NULL, OOPS},
    {"Oops [#", NULL, OOPS},
    {"Oops - ", NULL, OOPS},
    {"Unable to handle kernel ", NULL, OOPS},           /* arm, arm64, riscv, s390 */
    {"Internal error: ", "[#", OOPS},
    {"Bad mode in ", " detected on CPU", OOPS},
    {"SError Interrupt on CPU", NULL, OOPS},
    {"Kernel stack overflow", NULL, OOPS},
    {"Insufficient stack space to handle exception", NULL, OOPS},
    {"general protection fault", "[#", OOPS},
    {"BUG: soft lockup - CPU#", NULL, STALL},
    {"BUG: workqueue lockup", NULL, STALL},
    {"Watchdog detected hard LOCKUP", NULL, STALL},
    {"INFO: rcu", " stall", STALL},
    {"INFO: task ", " blocked for more than ", STALL},
    {"BUG: scheduling while atomic", NULL, STALL},
    {"BUG: spinlock ", NULL, STALL},
    {"BUG: rwlock ", NULL, STALL},
    {"BUG: Bad page state ", NULL, STALL},
    {"BUG: Bad page map ", NULL, STALL},
    {"BUG: Bad rss-counter state ", NULL, STALL},
    {"BUG: KASAN: ", NULL, RULED},                      /* between two rules of = */
    {"BUG: KFENCE: ", NULL, RULED},
    {"BUG: KMSAN: ", NULL, RULED},
    {"BUG ", "ainted", RULED},                          /* BUG kmalloc-64 (Not tainted): ... */
};

/* What may stand before a mark: who says it. */
static const char *const speakers[] = {"watchdog: ", "NMI watchdog: ", "rcu: ", "traps: ", "CPU "};

/* What lines that belong to stacks begin with, besides blanks. */
static const char *const parts[] = {
    "Call Trace:", "Call trace:", "Backtrace:", "Code:", "Modules linked in", "CPU:", "CPU ", "Hardware name:",
    "Workqueue:", "NMI backtrace", "Sending NMI", "rcu:", "task:", "RIP:", "RSP:", "EIP:", "EFLAGS:", "RAX:",
    "RBX:", "RCX:", "RDX:", "RSI:", "RBP:", "RDI:", "R08:", "R09:", "R10:", "R11:", "R12:", "R13:", "R14:", "R15:",
    "EAX:", "ESI:", "DS:", "FS:", "CS:", "CR0:", "CR2:", "DR0:", "DR3:", "PKRU:", "pstate:", "pc :", "lr :", "sp :",
    "x2", "x1", "x8", "x5", "[<", "[ffff", "? ", "</", "<", "irq event", "hardirqs", "softirqs", "Tainted:",
    "Task dump", "Showing busy", "workqueue ", "pool ", "Mem-Info", "page:", "flags:", "raw:", "page dumped",
};

#define COUNT(table) (sizeof table / sizeof *table)

/* A message of the kernel in a line. */
struct message {
    const char *text, *end;
    uint64_t begin, stop;       /* offsets: of its time, behind its line */
    uint64_t time;              /* microseconds; 0 if it shows none */
};

static bool starts(const char *at, const char *end, const char *text)
{
    size_t n = strlen(text);
    return (size_t)(end - at) >= n && memcmp(at, text, n) == 0;
}

static bool contains(const char *at, const char *end, const char *text)
{
    return memmem(at, (size_t)(end - at), text, strlen(text)) != NULL;
}

static bool is_hex(char c) { return vt_is_digit(c) || (c >= 'a' && c <= 'f'); }

static const char *skip_digits(const char *at, const char *end, uint64_t *value)
{
    for (int i = 0; at < end && vt_is_digit(*at) && i < 12; i++)
        *value = *value * 10 + (uint64_t)(*at++ - '0');
    return at;
}

/* Messages */

/* [    T1] or [   C12] behind the time: who printed it. */
static const char *skip_caller(const char *at, const char *end)
{
    const char *from = at;
    if (at == end || *at++ != '[')
        return from;
    while (at < end && (*at == ' ' || *at == 'T' || *at == 'C' || vt_is_digit(*at)))
        at++;
    return at < end && *at == ']' ? at + 1 : from;
}

/* Behind [   12.345678] and one blank; NULL if that does not stand at `at`. */
static const char *skip_time(const char *at, const char *end, uint64_t *time)
{
    uint64_t seconds = 0, fraction = 0;
    const char *digits;
    for (at++; at < end && *at == ' '; at++)
        ;
    at = skip_digits(digits = at, end, &seconds);
    if (at == digits || at == end || *at++ != '.')
        return NULL;
    at = skip_digits(digits = at, end, &fraction);
    if (at == digits || at == end || *at++ != ']')
        return NULL;
    *time = seconds * 1000000 + (at - 1 - digits == 6 ? fraction : 0);
    at = skip_caller(at, end);
    return at < end && *at == ' ' ? at + 1 : at;
}

static const char *skip_number(const char *at, const char *end)
{
    uint64_t ignored = 0;
    const char *behind = skip_digits(at, end, &ignored);
    return behind < end && behind > at && *behind == ' ' ? behind + 1 : at;
}

static const char *skip_speaker(const char *at, const char *end)
{
    for (size_t i = 0; i < COUNT(speakers); i++)
        if (starts(at, end, speakers[i]))
            return skip_number(at + strlen(speakers[i]), end);
    return at;
}

/* "invalid opcode: 0000 [#1] SMP", "addressing exception: 0005 ilc:3 [#1]": how every
 * architecture's die() speaks. */
static bool is_die(const char *at, const char *end)
{
    const char *count = memmem(at, (size_t)(end - at), " [#", 3);
    if (count == NULL || end - count < 4 || !vt_is_digit(count[3]))
        return false;
    for (const char *code = at; (code = memmem(code, (size_t)(count - code), ": ", 2)) != NULL;) {
        const char *behind = code += 2;
        while (behind < count && is_hex(*behind))
            behind++;
        if (behind - code >= 4 && *behind == ' ')
            return true;
    }
    return false;
}

static unsigned char announces(const struct message *m)
{
    const char *at = skip_speaker(m->text, m->end);
    for (size_t i = 0; i < COUNT(marks); i++)
        if (starts(at, m->end, marks[i].text)
            && (marks[i].with == NULL || contains(at, m->end, marks[i].with)))
            return marks[i].kind;
    return is_die(at, m->end) ? OOPS : NONE;
}

/* The next message behind its time; false if there is none. */
static bool next_timed(const char *at, const char *end, struct message *m, const char **found)
{
    while (at < end && (at = memchr(at, '[', (size_t)(end - at))) != NULL) {
        const char *text = skip_time(at, end, &m->time);
        if (text != NULL) {
            m->text = text;
            *found = at;
            return true;
        }
        at++;
    }
    return false;
}

/* Behind "<4>", which some consoles show. */
static const char *skip_level(const char *at, const char *end)
{
    return end - at > 3 && at[0] == '<' && vt_is_digit(at[1]) && at[2] == '>' ? at + 3 : at;
}

/* A line of a kernel that shows no times: all of it. */
static bool untimed_message(struct vt_oops *o, struct message *m)
{
    const char *text = skip_level(m->text, m->end);
    if (!o->inside && starts(text, m->end, "Linux version "))
        o->timed = false;       /* another kernel boots */
    m->text = text;
    return !o->timed && !o->inside;
}

/* The message of a line: the one that announces a report, if several stand there. */
static bool find_message(struct vt_oops *o, struct message *m)
{
    const char *line = m->text, *at = line, *found;
    struct message next = *m;
    bool any = false;
    while (next_timed(at, m->end, &next, &found)) {
        if (found == skip_level(line, m->end))
            o->timed = true;
        next.begin = o->line_begin + (uint64_t)(found - o->line);
        if (!any || announces(&next) != NONE)
            *m = next;
        any = true;
        if (announces(m) != NONE)
            break;
        at = next.text;
    }
    return any || untimed_message(o, m);
}

/* Reports */

static bool is_rule(const struct message *m)
{
    return starts(m->text, m->end, "==========");
}

static bool is_near(const struct vt_oops *o, const struct message *m)
{
    return m->time + 1000000 >= o->time && m->time <= o->time + NEAR_US;
}

static void extend(struct vt_oops *o, const struct message *m)
{
    o->report[o->count - 1].end = m->stop;
    o->time = m->time;
    o->lines++;
}

/* The line before, where that introduces reports: "[ cut here ]" or a rule. */
static uint64_t report_begin(const struct vt_oops *o, const struct message *m)
{
    return o->head != 0 ? o->head - 1 : m->begin;
}

static void announce(struct vt_oops *o, const struct message *m, unsigned char kind)
{
    bool follows = o->count > 0 && is_near(o, m) && o->lines < MAX_LINES
                   && (o->kind != NONE || o->since <= NEAR_LINES);
    if (!follows && o->count == VT_OOPS_REPORTS) {
        o->kind = NONE;
        o->more++;
        return;
    }
    if (!follows) {
        o->report[o->count++].begin = report_begin(o, m);
        o->lines = 0;
    }
    if (!follows || o->kind == NONE || kind == PANIC || o->kind == STALL) {
        o->kind = kind;
        o->traced = false;
    }
    o->head = 0;
    extend(o, m);
}

static bool is_part(const struct message *m)
{
    if (m->text < m->end && memchr(" \t?", *m->text, 3) != NULL)
        return true;
    for (size_t i = 0; i < COUNT(parts); i++)
        if (starts(m->text, m->end, parts[i]))
            return true;
    return false;
}

static bool ends(const struct vt_oops *o, const struct message *m)
{
    if (contains(m->text, m->end, "---[ end Kernel panic"))
        return true;
    return o->kind != PANIC
           && (contains(m->text, m->end, "---[ end trace ") || (o->kind == RULED && is_rule(m)));
}

/* Whether this line is none of the report under way any more. */
static bool is_over(const struct vt_oops *o, const struct message *m)
{
    return !is_near(o, m) || o->lines >= MAX_LINES
           || (o->kind == STALL && o->traced && !is_part(m));
}

static void pass(struct vt_oops *o, const struct message *m)
{
    bool is_head = is_rule(m) || contains(m->text, m->end, "[ cut here ]");
    o->head = is_head ? m->begin + 1 : 0;
    o->since++;
}

static void close_report(struct vt_oops *o)
{
    o->kind = NONE;
    o->since = 0;
}

static void go_on(struct vt_oops *o, const struct message *m)
{
    if (is_over(o, m)) {
        close_report(o);
        pass(o, m);
        return;
    }
    extend(o, m);
    if (starts(m->text, m->end, "Call ") || starts(m->text, m->end, "Backtrace"))
        o->traced = true;
    if (ends(o, m))
        close_report(o);
}

/* The rest of a line that was too long, such as that of the modules. */
static void go_on_line(struct vt_oops *o, const struct message *m)
{
    if (o->inside && o->count > 0 && o->report[o->count - 1].end == o->line_begin + OVERLAP)
        o->report[o->count - 1].end = m->stop;
}

static void take_line(struct vt_oops *o)
{
    struct message m = {.text = o->line, .end = o->line + o->length, .begin = o->line_begin,
                        .stop = o->line_begin + o->length, .time = o->time};
    if (o->length == 0)
        return;
    if (!find_message(o, &m)) {
        go_on_line(o, &m);
        return;
    }
    unsigned char kind = announces(&m);
    if (kind != NONE) {
        announce(o, &m, kind);
        if (ends(o, &m))
            close_report(o);
    } else if (o->kind != NONE) {
        go_on(o, &m);
    } else {
        pass(o, &m);
    }
}

/* Lines */

static void start_line(struct vt_oops *o, uint64_t begin)
{
    o->line_begin = begin;
    o->length = 0;
    o->inside = false;
}

/* The line is longer than can be kept: its end stays, for what goes on there. */
static void shift_line(struct vt_oops *o)
{
    take_line(o);
    memmove(o->line, o->line + VT_OOPS_LINE - OVERLAP, OVERLAP);
    o->line_begin += VT_OOPS_LINE - OVERLAP;
    o->length = OVERLAP;
    o->inside = true;
}

static void append(struct vt_oops *o, const char *at, size_t n)
{
    while (n > 0) {
        size_t room = VT_OOPS_LINE - o->length, part = n < room ? n : room;
        memcpy(o->line + o->length, at, part);
        o->length += part;
        at += part;
        n -= part;
        if (o->length == VT_OOPS_LINE)
            shift_line(o);
    }
}

void vt_oops_feed(struct vt_oops *o, const void *data, size_t n)
{
    const char *at = data, *end = at + n;
    while (at < end) {
        const char *stop = at;
        while (stop < end && *stop != '\n' && *stop != '\r')
            stop++;
        append(o, at, (size_t)(stop - at));
        o->offset += (uint64_t)(stop - at);
        if (stop < end) {
            take_line(o);
            start_line(o, ++o->offset);
            stop++;
        }
        at = stop;
    }
}

int vt_oops_found(const struct vt_oops *o, struct vt_oops_report reports[VT_OOPS_REPORTS])
{
    struct vt_oops now = *o;
    take_line(&now);
    memcpy(reports, now.report, sizeof now.report);
    return now.count;
}
