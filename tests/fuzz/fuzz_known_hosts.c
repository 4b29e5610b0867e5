/* A known_hosts file that may say anything.  Whatever stands in it, no key is taken that none of its
 * lines has for that host, and lines that are right hold whatever stands before them. */
#include "fuzz.h"

#include "transport/ssh_private.h"

#include <ctype.h>
#include <sys/mman.h>
#include <unistd.h>

#define LINE_MAX_LEN 5000

static const char key[] = "\0\0\0\x0bssh-ed25519\0\0\0 a key that everybody knows of us";
#define KEY_LEN (sizeof key - 1)
#define KEY_TEXT "AAAAC3NzaC1lZDI1NTE5AAAAIGEga2V5IHRoYXQgZXZlcnlib2R5IGtub3dzIG9mIHVz"

/* In place of libssh2's, by the linker: the key that the server has shown. */
const char *__wrap_libssh2_session_hostkey(LIBSSH2_SESSION *session, size_t *n, int *type);
const char *__wrap_libssh2_hostkey_hash(LIBSSH2_SESSION *session, int kind);

const char *__wrap_libssh2_session_hostkey(LIBSSH2_SESSION *session, size_t *n, int *type)
{
    (void)session;
    *n = KEY_LEN;
    *type = LIBSSH2_HOSTKEY_TYPE_ED25519;
    return key;
}

const char *__wrap_libssh2_hostkey_hash(LIBSSH2_SESSION *session, int kind)
{
    (void)session, (void)kind;
    return "a hash that has thirty-two bytes";
}

/* ---- what must hold, thought of a second time ---- */

/* One pattern with one name, by a table of which beginnings fit each other. */
static bool fits(const char *pattern, size_t n, const char *name)
{
    size_t m = strlen(name);
    char row[320] = {1};
    for (size_t i = 0; i < n; i++) {
        char left = row[0];
        row[0] = (char)(left && pattern[i] == '*');
        for (size_t j = 1; j <= m; j++) {
            char above = row[j];
            bool same = pattern[i] == '?' || tolower((unsigned char)pattern[i]) == name[j - 1];
            row[j] = pattern[i] == '*' ? above || row[j - 1] : left && same;
            left = above;
        }
    }
    return row[m];
}

static bool names_host(const char *list, size_t n, const char *name)
{
    bool found = false;
    for (size_t at = 0, len; at < n; at += len + 1) {
        for (len = 0; at + len < n && list[at + len] != ',';)
            len++;
        bool without = len > 0 && list[at] == '!';
        bool is = fits(list + at + without, len - without, name);
        if (is && without)
            return false;
        found = found || is;
    }
    return found;
}

struct said { bool key, revoked; };

/* What one line may say of our key and host. */
static void judge_line(const char *line, const char *name, struct said *said)
{
    line += strspn(line, " \t");
    bool marked = *line == '@', revokes = strncmp(line, "@revoked", 8) == 0;
    if (marked) {
        line += strcspn(line, " \t");
        line += strspn(line, " \t");
    }
    size_t n = strcspn(line, " \t\n");
    bool speaks = *line == '|' || names_host(line, n, name);
    if (*line == '#' || !speaks || strstr(line + n, KEY_TEXT) == NULL)
        return;
    said->revoked = said->revoked || revokes;
    said->key = said->key || !marked;
}

static struct said judge(const uint8_t *data, size_t n, const char *name)
{
    struct said said = {0};
    char line[LINE_MAX_LEN];
    for (size_t at = 0, len; at < n; at += len) {
        const uint8_t *end = memchr(data + at, '\n', n - at);
        len = end == NULL ? n - at : (size_t)(end - data) - at + 1;
        HOLDS(len < sizeof line);
        memcpy(line, data + at, len);
        line[len] = '\0';
        judge_line(line, name, &said);
    }
    return said;
}

/* ---- the file ---- */

static void write_all(int fd, const void *data, size_t n)
{
    HOLDS(write(fd, data, n) == (ssize_t)n);
}

/* The file's path; `good` is the line that it ends with. */
static int make_file(char path[64], const uint8_t *data, size_t n, const char *good)
{
    int fd = memfd_create("known_hosts", MFD_CLOEXEC);
    HOLDS(fd >= 0);
    write_all(fd, data, n);
    write_all(fd, good, strlen(good));
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd;
}

static enum vt_rc check(const char *path, const char *host, int port)
{
    struct vt_ssh ssh = {.session = libssh2_session_init()};
    struct vt_ssh_options o = {.host = host, .port = port, .known_hosts = path};
    struct vt_err e = {0};
    HOLDS(ssh.session != NULL);
    struct vt_waiter w = {0};
    enum vt_rc rc = vt_ssh_prefer_hostkey(&ssh, &o, &w, VT_FOREVER, &e);
    HOLDS(rc == VT_OK);
    rc = vt_ssh_check_hostkey(&ssh, &o, &e);
    HOLDS(rc == VT_OK || rc == VT_HOSTKEY);
    HOLDS((rc == VT_OK) == (e.text[0] == '\0') && memchr(e.text, 0, sizeof e.text) != NULL);
    libssh2_knownhost_free(ssh.known);
    libssh2_knownhost_free(ssh.revoked);
    libssh2_session_free(ssh.session);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const struct { const char *host, *name; int port; } hosts[] = {
        {"guest", "guest", 22}, {"Guest.Example", "[guest.example]:2200", 2200}, {"[::1]", "::1", 22},
        {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab",
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", 22},
    };
    char path[64], good[256];
    if (n < 1)
        return 0;
    unsigned which = data[0] & 3;
    bool has_good = data[0] & 4;
    snprintf(good, sizeof good, "\n%s ssh-ed25519 %s\n", hosts[which].name, KEY_TEXT);
    int fd = make_file(path, data + 1, n - 1, has_good ? good : "");
    enum vt_rc rc = check(path, hosts[which].host, hosts[which].port);
    struct said said = judge(data + 1, n - 1, hosts[which].name);
    HOLDS(rc != VT_OK || has_good || said.key);
    HOLDS(rc == VT_OK || !has_good || said.revoked);
    close(fd);
    return 0;
}
