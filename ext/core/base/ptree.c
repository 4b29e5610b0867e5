/* ptree.c - walking /proc for descendants. */
#include "base/ptree.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 8        /* of looking for new descendants; a stopped process makes none */

struct pids {
    pid_t *list;
    size_t count, cap;
};

static bool has(const struct pids *p, pid_t pid)
{
    for (size_t i = 0; i < p->count; i++)
        if (p->list[i] == pid)
            return true;
    return false;
}

static void add(struct pids *p, pid_t pid)
{
    if (pid <= 1 || has(p, pid))
        return;
    if (p->count == p->cap) {
        size_t cap = p->cap == 0 ? 16 : p->cap * 2;
        pid_t *list = realloc(p->list, cap * sizeof *list);
        if (list == NULL)
            return;                     /* it is killed by its terminal's end, perhaps */
        p->list = list;
        p->cap = cap;
    }
    p->list[p->count++] = pid;
}

/* The parent in /proc/PID/stat; the name before it may hold anything. */
static pid_t parent_of(const char *pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *f = fopen(path, "re");
    size_t n = f == NULL ? 0 : fread(text, 1, sizeof text - 1, f);
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    const char *behind = strrchr(text, ')');
    int parent = 0;
    if (behind == NULL || sscanf(behind, ") %*c %d", &parent) != 1)
        return 0;
    return parent;
}

/* Adds the children of all in the list: one walk through /proc for one generation. */
static void add_children(struct pids *p)
{
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc != NULL && (entry = readdir(proc)) != NULL)
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && has(p, parent_of(entry->d_name)))
            add(p, (pid_t)atol(entry->d_name));
    if (proc != NULL)
        closedir(proc);
}

enum vt_rc vt_ptree_kill(pid_t pid, int sig)
{
    struct pids tree = {0};
    size_t stopped = 0;
    if (pid <= 1 || kill(pid, 0) < 0)
        return VT_IO;
    add(&tree, pid);
    for (int round = 0; round < ROUNDS && stopped < tree.count; round++) {
        for (; stopped < tree.count; stopped++)
            kill(tree.list[stopped], SIGSTOP);
        add_children(&tree);
    }
    for (size_t i = 0; i < tree.count; i++)
        kill(tree.list[i], sig);
    for (size_t i = 0; i < tree.count; i++)
        kill(tree.list[i], SIGCONT);
    free(tree.list);
    return VT_OK;
}
