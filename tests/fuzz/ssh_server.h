/* ssh_server.h - an SSH server in this very thread, whose every message can be spoilt.
 *
 * It speaks RFC 4253, 4252 and 4254 as far as a client of ours goes: four key exchanges, an
 * ed25519 host key, aes128-ctr with hmac-sha2-256, all authentication methods, channels with
 * programs that print what they are told.  What a fuzzer's input asks for is done to the
 * messages before they are encrypted, so that the client takes them apart.
 */
#ifndef SSH_SERVER_H
#define SSH_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ssh_server;

/* script: changes (see ssh_server.c) and, at its end, bytes for whoever needs some.
 * fd: this side of a socket pair, the server's from here on. */
struct ssh_server *ssh_server_new(int fd, const uint8_t *script, size_t n);
void ssh_server_free(struct ssh_server *s);

/* A quick_step_fn: reads, answers, sends; whether any byte moved. */
bool ssh_server_step(void *server);

/* Messages sent so far, less those that were left out. */
unsigned ssh_server_sent(const struct ssh_server *s);

#endif
