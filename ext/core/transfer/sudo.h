/* sudo.h - the server's side of a transfer as root, where the login is another user's.
 *
 * sudo asks for no password, or gets its own or the login's: as the first line of standard input,
 * never in a command line.  Whoever is root needs no sudo.
 */
#ifndef VT_SUDO_H
#define VT_SUDO_H

#include "transfer/shell.h"

/* Finds out how to be root, by running what is to be run, with nothing to do: the sftp-server
 * of the places where systems have it, or sh.  VT_UNSUPPORTED: there is no sftp-server;
 * VT_REMOTE: sudo does not let us, with its words.  Returns s->rc. */
enum vt_rc vt_sudo_begin(struct vt_sftp *s, bool sftp) VT_MUST_CHECK;

/* The command lines, once that is known. */
const char *vt_sudo_sftp(const struct vt_sftp *s);
const char *vt_sudo_sh(const struct vt_sftp *s);
/* Makes of a script a command line for vt_sudo_sh's user; as it is without sudo. */
void vt_sudo_wrap(const struct vt_sftp *s, struct vt_script *x);

/* What the standard input of the command has to begin with, is_sh: of vt_sudo_sh's: the password,
 * and what keeps it from being run; nothing if sudo asks for none.  Appended to out, to be wiped. */
enum vt_rc vt_sudo_add_password(const struct vt_sftp *s, bool is_sh, struct vt_buf *out) VT_MUST_CHECK;
/* Sends that to a command that was started.  Returns s->rc. */
enum vt_rc vt_sudo_send_password(struct vt_sftp *s, bool is_sh, LIBSSH2_CHANNEL *channel) VT_MUST_CHECK;

#endif
