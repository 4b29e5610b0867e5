/* telnet.c - Telnet, client side. */
#include "transport/telnet.h"

enum { SE = 240, SB = 250, WILL = 251, WONT = 252, DO = 253, DONT = 254, IAC = 255 };
enum { OPT_ECHO = 1, OPT_SGA = 3, OPT_TTYPE = 24, OPT_NAWS = 31 };
enum { TTYPE_IS = 0, TTYPE_SEND = 1 };
enum { DATA, COMMAND, OPTION, SUB, SUB_IAC };

static bool get(const uint32_t *set, unsigned char option)
{
    return set[option >> 5] >> (option & 31) & 1;
}

static void put(uint32_t *set, unsigned char option, bool on)
{
    uint32_t bit = UINT32_C(1) << (option & 31);
    set[option >> 5] = on ? set[option >> 5] | bit : set[option >> 5] & ~bit;
}

static enum vt_rc answer(struct vt_buf *reply, unsigned char verb, unsigned char option)
{
    unsigned char text[] = {IAC, verb, option};
    return vt_buf_add(reply, text, sizeof text);
}

static bool is_welcome(unsigned char option)
{
    return option == OPT_ECHO || option == OPT_SGA;
}

static bool is_offered(unsigned char option)
{
    return option == OPT_TTYPE || option == OPT_NAWS || option == OPT_SGA;
}

/* The server's side of an option: WILL or WONT. */
static enum vt_rc server_side(struct vt_telnet *t, unsigned char option, bool will, struct vt_buf *reply)
{
    if (get(t->server, option) == will)
        return VT_OK;
    if (will && !is_welcome(option))
        return answer(reply, DONT, option);
    put(t->server, option, will);
    return answer(reply, will ? DO : DONT, option);
}

/* A size of 0x0 says that there is none to know. */
static enum vt_rc tell_size(const struct vt_telnet *t, struct vt_buf *reply)
{
    const unsigned char size[] = {(unsigned char)(t->columns >> 8), (unsigned char)t->columns,
                                  (unsigned char)(t->rows >> 8), (unsigned char)t->rows};
    unsigned char text[3 + 2 * sizeof size + 2] = {IAC, SB, OPT_NAWS};
    size_t n = 3;
    for (size_t i = 0; i < sizeof size; i++) {
        text[n++] = size[i];
        if (size[i] == IAC)
            text[n++] = IAC;
    }
    text[n++] = IAC;
    text[n++] = SE;
    return vt_buf_add(reply, text, n);
}

enum vt_rc vt_telnet_resize(struct vt_telnet *t, uint16_t rows, uint16_t columns, struct vt_buf *wire)
{
    t->rows = rows;
    t->columns = columns;
    return get(t->client, OPT_NAWS) ? tell_size(t, wire) : VT_OK;
}

/* Our side of an option: DO or DONT. */
static enum vt_rc client_side(struct vt_telnet *t, unsigned char option, bool wanted, struct vt_buf *reply)
{
    if (get(t->client, option) == wanted)
        return VT_OK;
    if (wanted && !is_offered(option))
        return answer(reply, WONT, option);
    put(t->client, option, wanted);
    enum vt_rc rc = answer(reply, wanted ? WILL : WONT, option);
    return rc == VT_OK && wanted && option == OPT_NAWS ? tell_size(t, reply) : rc;
}

static enum vt_rc end_sub(struct vt_telnet *t, struct vt_buf *reply)
{
    static const unsigned char text[] = {IAC, SB, OPT_TTYPE, TTYPE_IS, 'd', 'u', 'm', 'b', IAC, SE};
    if (t->sub_len >= 2 && t->sub[0] == OPT_TTYPE && t->sub[1] == TTYPE_SEND && get(t->client, OPT_TTYPE))
        return vt_buf_add(reply, text, sizeof text);
    return VT_OK;
}

static enum vt_rc on_data(struct vt_telnet *t, unsigned char c, struct vt_buf *out)
{
    bool dropped = c == 0 && t->after_cr;
    t->after_cr = c == '\r';
    if (c == IAC) {
        t->state = COMMAND;
        return VT_OK;
    }
    return dropped ? VT_OK : vt_buf_add(out, &c, 1);
}

static enum vt_rc on_command(struct vt_telnet *t, unsigned char c, struct vt_buf *out)
{
    t->state = DATA;
    if (c == IAC)
        return vt_buf_add(out, &c, 1);
    if (c >= WILL && c <= DONT) {
        t->verb = c;
        t->state = OPTION;
    } else if (c == SB) {
        t->sub_len = 0;
        t->state = SUB;
    }
    return VT_OK;                   /* NOP, GA, AYT and the like need no answer here */
}

static enum vt_rc on_option(struct vt_telnet *t, unsigned char c, struct vt_buf *reply)
{
    t->state = DATA;
    if (t->verb == WILL || t->verb == WONT)
        return server_side(t, c, t->verb == WILL, reply);
    return client_side(t, c, t->verb == DO, reply);
}

static void keep_sub(struct vt_telnet *t, unsigned char c)
{
    if (t->sub_len < sizeof t->sub)
        t->sub[t->sub_len++] = c;
}

static enum vt_rc on_sub_iac(struct vt_telnet *t, unsigned char c, struct vt_buf *reply)
{
    t->state = SUB;
    if (c == IAC) {
        keep_sub(t, c);
        return VT_OK;
    }
    t->state = DATA;                /* SE; anything else ends it too, as servers do */
    return c == SE ? end_sub(t, reply) : VT_OK;
}

enum vt_rc vt_telnet_decode(struct vt_telnet *t, const void *data, size_t n,
                            struct vt_buf *out, struct vt_buf *reply)
{
    const unsigned char *p = data;
    enum vt_rc rc = VT_OK;
    for (size_t i = 0; rc == VT_OK && i < n; i++) {
        switch (t->state) {
        case DATA: rc = on_data(t, p[i], out); break;
        case COMMAND: rc = on_command(t, p[i], out); break;
        case OPTION: rc = on_option(t, p[i], reply); break;
        case SUB_IAC: rc = on_sub_iac(t, p[i], reply); break;
        default:
            if (p[i] == IAC)
                t->state = SUB_IAC;
            else
                keep_sub(t, p[i]);
        }
    }
    return rc;
}

enum vt_rc vt_telnet_encode(const void *data, size_t n, struct vt_buf *wire)
{
    const unsigned char *p = data;
    enum vt_rc rc = VT_OK;
    for (size_t i = 0; rc == VT_OK && i < n; i++) {
        rc = vt_buf_add(wire, &p[i], 1);
        if (rc == VT_OK && p[i] == IAC)
            rc = vt_buf_add(wire, &p[i], 1);
        else if (rc == VT_OK && p[i] == '\r' && (i + 1 == n || p[i + 1] != '\n'))
            rc = vt_buf_add(wire, "", 1);
    }
    return rc;
}
