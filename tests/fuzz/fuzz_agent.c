/* An SSH agent that says what it likes; and key files. */
#include "fuzz.h"
#include "quick.h"

#include "transport/ssh_agent.h"
#include "transport/ssh_identity.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define TIMEOUT 10

static const uint8_t *at, *end;
static int listener, peer;

/* Accepts, takes what was asked, says the next piece of the script. */
static bool step(void *ctx)
{
    char unused[4096];
    bool moved = false;
    (void)ctx;
    if (peer < 0 && (peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
        moved = true;
    while (peer >= 0 && recv(peer, unused, sizeof unused, MSG_DONTWAIT) > 0)
        moved = true;
    if (peer < 0 || at >= end)
        return moved;
    size_t n = (size_t)*at++ + 1, left = (size_t)(end - at);
    n = n < left ? n : left;
    (void)!send(peer, at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    at += n;
    if (n == 0)
        shutdown(peer, SHUT_RDWR);
    return true;
}

static void ask(void)
{
    struct vt_agent a;
    struct vt_agent_key key;
    struct vt_buf signature;
    struct vt_waiter w = {0};
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/virtvm-fuzz-agent-%d", (int)getpid());
    vt_buf_init(&signature, 64 * 1024);
    enum vt_rc rc = vt_agent_open(&a, path, &w, vt_deadline(TIMEOUT));
    for (int i = 0; rc == VT_OK && i < 300 && vt_agent_next(&a, &key); i++) {
        const unsigned char *first = (unsigned char *)a.keys.data;
        HOLDS(key.blob >= first && key.blob + key.len <= first + a.keys.len);
        if (i < 3 && vt_agent_sign(&a, &key, "data", 4, 2, &signature) != VT_OK)
            break;
        HOLDS(signature.len <= 64 * 1024);
    }
    vt_agent_close(&a);
    vt_buf_fini(&signature);
    HOLDS(quick_elapsed() <= TIMEOUT + 1);
}

static void look(const uint8_t *data, size_t n)
{
    struct vt_identity id;
    char path[64], text[96] = "";
    int fd = memfd_create("key", MFD_CLOEXEC);
    HOLDS(write(fd, data, n) == (ssize_t)n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    vt_identity_look(path, &id, text, sizeof text);
    HOLDS(id.blob_len <= sizeof id.blob && memchr(text, 0, sizeof text) != NULL);
    HOLDS((id.kind == VT_IDENTITY_UNUSABLE) == (text[0] != '\0'));
    close(fd);
}

static void listen_somewhere(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    snprintf(to.sun_path, sizeof to.sun_path, "/dev/shm/virtvm-fuzz-agent-%d", (int)getpid());
    unlink(to.sun_path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    HOLDS(bind(listener, (struct sockaddr *)&to, sizeof to) == 0 && listen(listener, 5) == 0);
}

static void stop_listening(void)
{
    char path[64];
    snprintf(path, sizeof path, "/dev/shm/virtvm-fuzz-agent-%d", (int)getpid());
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 2)
        return 0;
    if (listener == 0) {
        listen_somewhere();
        atexit(stop_listening);
    }
    if (data[0] & 1) {
        look(data + 1, n - 1);
        return 0;
    }
    at = data + 1;
    end = data + n;
    peer = -1;
    quick_begin(step, NULL);
    ask();
    quick_end();
    if (peer >= 0)
        close(peer);
    return 0;
}
