/* ssh_kex.c - the methods that we ask for, and why a key exchange failed. */
#include "transport/ssh_private.h"

#include "transport/kexinit.h"

#include <stdio.h>
#include <string.h>

static const struct { int method; const char *name; } lists[VT_KEXINIT_LISTS] = {
    [VT_KEXINIT_KEX] = {LIBSSH2_METHOD_KEX, "key exchange method"},
    [VT_KEXINIT_HOSTKEY] = {LIBSSH2_METHOD_HOSTKEY, "kind of host key"},
    [VT_KEXINIT_CIPHER_CS] = {LIBSSH2_METHOD_CRYPT_CS, "cipher"},
    [VT_KEXINIT_CIPHER_SC] = {LIBSSH2_METHOD_CRYPT_SC, "cipher"},
    [VT_KEXINIT_MAC_CS] = {LIBSSH2_METHOD_MAC_CS, "MAC"},
    [VT_KEXINIT_MAC_SC] = {LIBSSH2_METHOD_MAC_SC, "MAC"},
};

static bool knows(const char **known, int n, const char *name, size_t len)
{
    for (int i = 0; i < n; i++)
        if (strlen(known[i]) == len && memcmp(known[i], name, len) == 0)
            return true;
    return false;
}

/* libssh2_session_method_pref leaves out unknown names by itself, but 1.10 does so with a
 * memcpy over overlapping memory. */
void vt_ssh_prefer(LIBSSH2_SESSION *session, int kind, const char *names)
{
    const char **known = NULL;
    int n = libssh2_session_supported_algs(session, kind, &known);
    struct vt_buf list;
    vt_buf_init(&list, 4096);
    enum vt_rc rc = VT_OK;
    while (rc == VT_OK && *names != '\0') {
        size_t len = strcspn(names, ",");
        if (knows(known, n, names, len))
            rc = vt_buf_addf(&list, "%s%.*s", list.len > 0 ? "," : "", (int)len, names);
        names += len + (names[len] == ',');
    }
    if (rc == VT_OK && list.len > 0)
        libssh2_session_method_pref(session, kind, list.data);
    if (n > 0)
        libssh2_free(session, known);
    vt_buf_fini(&list);
}

static bool has_common(struct vt_ssh *ssh, const struct vt_kexinit *k, enum vt_kexinit_list which)
{
    const char **ours = NULL;
    int n = libssh2_session_supported_algs(ssh->session, lists[which].method, &ours);
    bool common = n <= 0;           /* unknown: not to be blamed */
    for (int i = 0; i < n && !common; i++)
        common = vt_kexinit_offers(k, which, ours[i]);
    if (n > 0)
        libssh2_free(ssh->session, ours);
    return common;
}

void vt_ssh_explain_kex(struct vt_ssh *ssh, const struct vt_buf *early, char *text, size_t cap)
{
    struct vt_kexinit k;
    char offered[128];
    if (!vt_kexinit_parse(early->data, early->len, &k))
        return;
    for (int i = 0; i < VT_KEXINIT_LISTS; i++) {
        if (has_common(ssh, &k, i))
            continue;
        vt_show(k.list[i].names, k.list[i].len, offered, sizeof offered);
        snprintf(text, cap, "no %s in common, the server offers %s", lists[i].name, offered);
        return;
    }
}
