/* source.c - the local side of an upload. */
#include "transfer/source.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

/* File systems whose files are made while they are read. */
static bool is_of_kernel(int fd)
{
    static const unsigned long kernels[] = {
        PROC_SUPER_MAGIC, SYSFS_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, CGROUP_SUPER_MAGIC,
        CGROUP2_SUPER_MAGIC, EFIVARFS_MAGIC, PSTOREFS_MAGIC,
    };
    struct statfs fs;
    if (fstatfs(fd, &fs) < 0)
        return false;
    for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++)
        if ((unsigned long)fs.f_type == kernels[i])
            return true;
    return false;
}

bool vt_source_open(struct vt_source *src, int folder, const char *name)
{
    *src = (struct vt_source){.fd = openat(folder, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
    int sys = src->fd < 0 ? errno : fstat(src->fd, &src->st) < 0 ? errno : S_ISREG(src->st.st_mode) ? 0 : EMEDIUMTYPE;
    if (sys != 0) {
        vt_source_close(src);
        errno = sys;
        return false;
    }
    /* The kernel's have no blocks; most others need not be asked about their file system. */
    src->is_sized = src->st.st_size > 0 && (src->st.st_blocks > 0 || !is_of_kernel(src->fd));
    return true;
}

void vt_source_close(struct vt_source *src)
{
    if (src->fd >= 0)
        close(src->fd);
    src->fd = -1;
}

const char *vt_source_why(int sys)
{
    return sys == EMEDIUMTYPE ? "no regular file" : strerror(sys);
}
