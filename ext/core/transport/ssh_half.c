/* ssh_half.c - logins that ran out of time behind the banner, for the next ones.
 *
 * A starved guest may need longer than one login has: for its key exchange, for the password (PAM may ask
 * others), for a shell.  A second connection would be as slow, and sshd counts each that ends without
 * authentication.  libssh2 goes on where it stands, if it gets the call again that it was about.
 */
#include "transport/ssh_private.h"

#include "transport/boot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define FIELDS 7
#define EARLY 2                 /* of them count before authentication */

struct vt_ssh_claim {
    int keepalive_s;
    char *fields[FIELDS];           /* NULL: not given */
};

/* The first ones say whose key is asked for: a place may be reached by several names. */
static void fields_of(const struct vt_ssh_options *o, const char *fields[FIELDS])
{
    const char *all[FIELDS] = {o->host, o->known_hosts, o->user, o->password, o->identity_file, o->passphrase, o->auth};
    memcpy(fields, all, sizeof all);
}

/* Wipes it; NULL is fine. */
static void claim_free(struct vt_ssh_claim *claim)
{
    for (int i = 0; claim != NULL && i < FIELDS; i++) {
        if (claim->fields[i] != NULL)
            explicit_bzero(claim->fields[i], strlen(claim->fields[i]));
        free(claim->fields[i]);
    }
    free(claim);
}

static struct vt_ssh_claim *claim_of(const struct vt_ssh_options *o)
{
    const char *fields[FIELDS];
    struct vt_ssh_claim *claim = calloc(1, sizeof *claim);
    fields_of(o, fields);
    if (claim != NULL)
        claim->keepalive_s = o->keepalive_s;
    for (int i = 0; claim != NULL && i < FIELDS; i++) {
        if (fields[i] != NULL && (claim->fields[i] = strdup(fields[i])) == NULL) {
            claim_free(claim);
            claim = NULL;
        }
    }
    return claim;
}

static bool is_same(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool fits(const void *what, const void *ctx)
{
    const struct vt_ssh *ssh = what;
    const struct vt_ssh_options *o = ctx;
    const char *fields[FIELDS];
    fields_of(o, fields);
    bool same = (o->shell || !ssh->is_in) && ssh->claim->keepalive_s == o->keepalive_s;
    for (int i = 0; i < (ssh->is_shaken ? FIELDS : EARLY); i++)
        same = same && is_same(ssh->claim->fields[i], fields[i]);
    return same;
}

static void drop(void *what)
{
    struct vt_ssh *ssh = what;
    claim_free(ssh->claim);
    if (!ssh->is_shaken)
        vt_ssh_abandon(ssh, LIBSSH2_ERROR_EAGAIN);
    vt_ssh_free(ssh, true);
}

/* The server has hung up on it meanwhile, without a word that is not read. */
static bool has_ended(const struct vt_ssh *ssh)
{
    char byte;
    if (vt_ssh_has_input(ssh))
        return false;
    ssize_t n = recv(ssh->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

struct vt_ssh *vt_ssh_take_half(const struct vt_ssh_options *o)
{
    struct vt_ssh *ssh = NULL;
    if (!o->hedge || o->places == NULL)
        return NULL;
    while ((ssh = vt_boot_take_half(o->places, o->host, o->port, fits, o)) != NULL && has_ended(ssh))
        drop(ssh);
    if (ssh == NULL)
        return NULL;
    claim_free(ssh->claim);
    ssh->claim = NULL;
    ssh->halfway = false;
    ssh->resumed = true;
    return ssh;
}

void vt_ssh_keep_half(struct vt_ssh *ssh, const struct vt_ssh_options *o)
{
    if (ssh->received != ssh->received_before)
        ssh->heard = vt_now();
    ssh->received_before = ssh->received;
    ssh->claim = claim_of(o);
    if (ssh->claim == NULL) {
        drop(ssh);
        return;
    }
    struct vt_half half = {ssh, drop, ssh->since, ssh->heard, ssh->reached, ssh->is_shaken, ssh->is_in};
    vt_boot_keep_half(o->places, o->host, o->port, &half);
}

void vt_ssh_reached(struct vt_ssh *ssh)
{
    ssh->reached = vt_now();
}
