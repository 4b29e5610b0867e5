/* Uploads and downloads by SFTP and SCP with a server that lies: nothing is written outside
 * the target, nothing half is left there, and each call keeps to its deadline. */
#include "fuzz.h"
#include "fake_ssh.h"
#include "quick.h"
#include "sandbox.h"

#include "transfer/transfer.h"

#define TIMEOUT 20
#define SLACK 30                /* for clean-up, which has a time of its own for each file */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char *const remote[][2] = {{"d", "a"}, {"d/*", "b"}, {"/there/d", NULL}, {"a", NULL}};
    char source[2][128], target[128];
    const char *local[] = {source[0], source[1]};
    struct vt_transfer_result r;
    struct vt_err e = {0};
    struct vt_waiter w = {0};
    if (n < 3)
        return 0;
    const char *base = sandbox_begin();
    snprintf(source[0], sizeof source[0], "%s/source/d", base);
    snprintf(source[1], sizeof source[1], "%s/source/a", base);
    snprintf(target, sizeof target, "%s/target", base);
    bool up = data[0] & 1;
    struct vt_transfer_options o = {.engine = data[0] & 2 ? VT_ENGINE_SCP : VT_ENGINE_SFTP,
                                    .keep_times = data[0] & 4, .verify = data[0] & 8, .sparse = data[0] & 16,
                                    .keep_links = data[0] & 32, .sync = data[0] & 64};
    const char *const *from = up ? local : remote[data[1] & 3];
    struct vt_ssh *ssh = fake_ssh_new(data + 2, n - 2);
    quick_begin(NULL, NULL);
    enum vt_rc rc = (up ? vt_transfer_put : vt_transfer_get)(
        ssh, from, from[1] != NULL && data[1] & 4 ? 2 : 1, up ? "d/new" : target, &o, &w, vt_deadline(TIMEOUT), &r, &e);
    HOLDS(quick_elapsed() <= TIMEOUT + SLACK);
    HOLDS(memchr(r.failed, 0, sizeof r.failed) != NULL && memchr(e.text, 0, sizeof e.text) != NULL);
    HOLDS(rc == VT_OK || rc != VT_AGAIN);
    quick_end();
    if (getenv("FUZZ_TELL") != NULL)
        fprintf(stderr, "%s: %s %s, %d files\n", up ? "put" : "get", vt_rc_name(rc), e.text, (int)r.files);
    bool is_named_so = memmem(data, n, ".vt-", 4) != NULL;         /* by the server itself */
    HOLDS(up || o.keep_links || r.links == 0);
    sandbox_check(up || r.left.count > 0 || is_named_so, !up && r.files + r.links > 0);
    fake_ssh_free(ssh);
    return 0;
}
