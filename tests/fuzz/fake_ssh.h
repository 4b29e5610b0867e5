/* fake_ssh.h - an SSH connection to a lying server, without SSH: in place of the transport's
 * files, and of libssh2's channels.
 *
 * Its SFTP server answers from a small tree of its own; a script says which answers are lies,
 * and of what kind. What runs as a command, scp or a shell, prints what the script says. */
#ifndef FAKE_SSH_H
#define FAKE_SSH_H

#include <stddef.h>
#include <stdint.h>

struct vt_ssh;

struct vt_ssh *fake_ssh_new(const uint8_t *script, size_t n);
void fake_ssh_free(struct vt_ssh *ssh);

#endif
