#include "sandbox.h"

#include "fuzz.h"

#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#define PRECIOUS "what was there before"

static char base[64];

static void make_file(const char *name, const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *f = fopen(path, "w");
    HOLDS(f != NULL && fputs(text, f) >= 0 && fclose(f) == 0);
}

static void make_folder(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", base, name);
    HOLDS(mkdir(path, 0755) == 0);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind, (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void remove_base(void)
{
    remove_tree(base);
}

const char *sandbox_begin(void)
{
    if (base[0] == '\0') {
        snprintf(base, sizeof base, "/dev/shm/virtvm-fuzz-%d", (int)getpid());
        remove_base();
        HOLDS(mkdir(base, 0700) == 0);
        make_folder("source"), make_folder("source/d");
        make_file("source/a", "text of a\n"), make_file("source/d/b", "");
        make_file("sentinel", PRECIOUS);
        atexit(remove_base);
    }
    make_folder("target");
    make_file("target/a", PRECIOUS);
    return base;
}

static int check_name(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st, (void)kind;
    HOLDS(strstr(path + ftw->base, ".vt-") == NULL);
    return 0;
}

static void check_outside(void)
{
    int seen = 0;
    DIR *dir = opendir(base);
    while (readdir(dir) != NULL)
        seen++;
    closedir(dir);
    HOLDS(seen == 5);                   /* . .. source sentinel target */
}

static bool is_precious(const char *name)
{
    char path[128], text[64] = "";
    snprintf(path, sizeof path, "%s/%s", base, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return false;
    size_t n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    return n == strlen(PRECIOUS) && strcmp(text, PRECIOUS) == 0;
}

void sandbox_check(bool may_leave, bool may_replace)
{
    char path[128];
    snprintf(path, sizeof path, "%s/target", base);
    check_outside();
    HOLDS(is_precious("sentinel"));
    HOLDS(may_leave || nftw(path, check_name, 16, FTW_PHYS) == 0);
    HOLDS(may_replace || is_precious("target/a"));
    remove_tree(path);
}
