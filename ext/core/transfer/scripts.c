/* scripts.c - the shell text that the SCP engine and the checksums need.
 *
 * For a Bourne shell of any make: dash, busybox, bash, ksh.  tests/core/test_scripts.c runs
 * all of it, and cuts it at each byte.
 */
#include "transfer/scripts.h"

#define ARGUMENTS_MAX (32 * 1024)  /* of one command */

void vt_script_look(struct vt_script *x, const char *path)
{
    vt_script_add(x,
        "look() {\n"
        " if [ -d \"$1\" ]; then k=d; elif [ -f \"$1\" ]; then k=f\n"
        " elif [ -c \"$1\" ] || [ -b \"$1\" ]; then k=s; elif [ -e \"$1\" ]; then k=o; else k=-; fi\n"
        " r=$1\n"
        " if [ -h \"$1\" ]; then r=$(readlink -f \"$1\" && echo x) && r=${r%?x} || r=$1; fi\n"
        " p=$r\n"
        " while [ \"$p\" != \"${p%/}\" ]; do p=${p%/}; done\n"
        " case $p in */*) p=${p%/*};; *) p=.;; esac\n"
        " if [ -d \"${p:-/}\" ]; then p=d; else p=-; fi\n"
        " printf '%s%s%s\\0' $k $p \"$r\"\n"
        "}\n"
        "look ");
    vt_script_home_path(x, path);
    vt_script_add(x, "\n");
}

static void add_source(struct vt_script *x, const char *source)
{
    bool pattern = vt_is_pattern(source);
    if (pattern) {
        vt_script_add(x, "if ! [ -e ");
        vt_script_home_path(x, source);
        vt_script_add(x, " ]; then for f in ");
        vt_script_pattern(x, source);
        vt_script_add(x, "; do tell \"$f\"; done; else ");
    }
    vt_script_add(x, "tell ");
    vt_script_home_path(x, source);
    vt_script_add(x, pattern ? "; fi\n" : "\n");
}

void vt_script_sources(struct vt_script *x, const char *const *sources, size_t n)
{
    vt_script_add(x,
        "tell() {\n"
        " if [ -d \"$1\" ]; then k=d; elif [ -f \"$1\" ]; then k=f\n"
        " elif [ -e \"$1\" ]; then k=o; else k=-; fi\n"
        " printf '%s%s\\0' $k \"$1\"\n"
        "}\n");
    for (size_t i = 0; i < n; i++)
        add_source(x, sources[i][0] != '\0' ? sources[i] : ".");
}

void vt_script_exists(struct vt_script *x, const char *path)
{
    vt_script_add(x, "[ -e ");
    vt_script_path(x, path);
    vt_script_add(x, " ]\n");
}

void vt_script_content(struct vt_script *x)
{
    vt_script_add(x,
        "content() {\n"
        " n=$(dd bs=1 count=1 <\"$1\" 2>/dev/null | wc -c)\n"
        " if [ \"$n\" -gt 0 ]; then echo 1; else echo 0; fi\n"
        "}\n");
}

void vt_script_has_content(struct vt_script *x, const char *path)
{
    vt_script_add(x, "content ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

void vt_script_cat(struct vt_script *x, const char *path)
{
    vt_script_add(x, "cat <");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

/* fit NEW OLD MODE HOW: a new file, which nobody else could read so far, gets its mode.  HOW:
 *   all   owner and mode of the one that it replaces, MODE if there is none;
 *   mode  the same, but it has its owner already;
 *   own   MODE, whatever it replaces.
 * Without the old one's owner it gets no set-id bits. */
void vt_script_names(struct vt_script *x)
{
    vt_script_add(x,
        "LC_ALL=C\n"
        "is_size() { [ \"$(wc -c <\"$1\")\" -eq \"$2\" ]; }\n"
        "bits() {\n"
        " b=\n"
        " case $1 in r*) b=r;; esac\n"
        " case $1 in ?w*) b=${b}w;; esac\n"
        " case $1 in ??[xst]*) b=${b}x;; esac\n"
        "}\n"
        "like() {\n"
        " set -f\n"
        " set -- \"$1\" \"$3\" $(ls -ldn \"$2\")\n"
        " set +f\n"
        " [ $# -ge 6 ] || return 0\n"
        " o=y\n"
        " [ \"$2\" = mode ] || chown \"$5:$6\" \"$1\" 2>/dev/null || o=\n"
        " m=${3#?}\n"
        " bits \"$m\"; u=$b\n"
        " case $o$m in y??[sS]*) u=${u}s;; esac\n"
        " m=${m#???}\n"
        " bits \"$m\"; g=$b\n"
        " case $o$m in y??[sS]*) g=${g}s;; esac\n"
        " bits \"${m#???}\"\n"
        " chmod \"u=$u,g=$g,o=$b\" \"$1\" 2>/dev/null || :\n"
        "}\n"
        "fit() {\n"
        " if [ \"$4\" != own ] && [ -f \"$2\" ] && ! [ -h \"$2\" ]; then like \"$1\" \"$2\" \"$4\"; return 0; fi\n"
        " [ \"$3\" = 0600 ] || chmod \"$3\" \"$1\" 2>/dev/null || :\n"
        "}\n"
        "place() {\n"
        " if [ -h \"$2\" ] && [ -d \"$2\" ]; then\n"
        "  mv -fT \"$1\" \"$2\" 2>/dev/null && return 0\n"
        "  rm -f \"$2\"\n"
        " elif [ -d \"$2\" ]; then echo 'a folder is in the way' >&2; return 1; fi\n"
        " mv -f \"$1\" \"$2\"\n"
        "}\n"
        "file() {\n"
        " if is_size \"$1\" \"$3\" && fit \"$1\" \"$2\" \"$4\" \"$5\" && place \"$1\" \"$2\"; then return 0; fi\n"
        " rm -f \"$1\"; echo \"$6\"\n"
        "}\n"
        "name() {\n"
        " if [ -e \"$2\" ] || [ -h \"$2\" ]; then echo 'it is there now' >&2; return 1; fi\n"
        " mv \"$1\" \"$2\"\n"
        "}\n");
}

static void add_call(struct vt_script *x, const char *function, const char *path, const char *final)
{
    vt_script_add(x, function);
    vt_script_path(x, path);
    vt_script_add(x, " ");
    vt_script_path(x, final);
}

static void add_failure(struct vt_script *x, const char *remove, const char *path, unsigned number)
{
    vt_script_add(x, " || { ");
    if (remove != NULL) {
        vt_script_add(x, remove);
        vt_script_path(x, path);
        vt_script_add(x, "; ");
    }
    vt_script_addf(x, "echo %u; }\n", number);
}

void vt_script_sync(struct vt_script *x)
{
    vt_script_add(x, "sync\n");
}

void vt_script_folders(struct vt_script *x, const char *path)
{
    vt_script_add(x, "mkdir -p ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

void vt_script_owner(struct vt_script *x, const char *path, int uid, int gid, bool is_temporary, unsigned number)
{
    vt_script_addf(x, "chown %d:%d ", uid, gid);
    vt_script_path(x, path);
    add_failure(x, is_temporary ? "rm -f " : NULL, path, number);
}

void vt_script_file(struct vt_script *x, const char *path, const char *final, uint64_t size, mode_t mode,
                    enum vt_script_fit fit, unsigned number)
{
    static const char *const how[] = {[VT_FIT_ALL] = "all", [VT_FIT_MODE] = "mode", [VT_FIT_OWN] = "own"};
    add_call(x, "file ", path, final);
    vt_script_addf(x, " %llu %04o %s %u\n", (unsigned long long)size, (unsigned)mode, how[fit], number);
}

void vt_script_link(struct vt_script *x, const char *to, const char *path, const char *final, unsigned number)
{
    vt_script_add(x, "ln -s -- ");
    vt_script_word(x, to);
    vt_script_add(x, " ");
    vt_script_path(x, path);
    if (final != NULL)
        add_call(x, " && place ", path, final);
    add_failure(x, "rm -f ", path, number);
}

void vt_script_mode(struct vt_script *x, const char *path, mode_t mode)
{
    vt_script_addf(x, "chmod %04o ", (unsigned)mode);
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

void vt_script_folder(struct vt_script *x, const char *path, const char *final, bool is_ours, unsigned number)
{
    add_call(x, "name ", path, final);
    add_failure(x, is_ours ? "rm -rf " : NULL, path, number);
}

void vt_script_remove(struct vt_script *x, const char *path)
{
    vt_script_add(x, "rm -f ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

void vt_script_rm(struct vt_script *x, const char *path, size_t *line)
{
    if (*line == 0 || x->text.len - *line > ARGUMENTS_MAX) {
        vt_script_add(x, "\nrm -f");
        *line = x->text.len;
    }
    vt_script_add(x, " ");
    vt_script_path(x, path);
}

void vt_script_rm_folder(struct vt_script *x, const char *path)
{
    vt_script_add(x, "\nrm -rf ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

void vt_script_gone(struct vt_script *x)
{
    vt_script_add(x, "\ngone() { if [ -e \"$1\" ] || [ -h \"$1\" ]; then echo 1; else echo 0; fi; }\n");
}

void vt_script_is_gone(struct vt_script *x, const char *path)
{
    vt_script_add(x, "gone ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

/* The first program that knows the sum of nothing.  Names never reach it: what it prints
 * would depend on them. */
void vt_script_sums(struct vt_script *x)
{
    vt_script_add(x,
        "LC_ALL=C\n"
        "empty=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\n"
        "for program in sha256sum 'busybox sha256sum' 'shasum -a 256' 'sha256 -q' 'openssl dgst -sha256 -r'; do\n"
        " case $($program </dev/null 2>/dev/null) in $empty*) break;; esac\n"
        " program=\n"
        "done\n"
        "[ -n \"$program\" ] || exit 9\n"
        "sum() { $program <\"$1\" || echo unreadable; }\n");
}

void vt_script_sum(struct vt_script *x, const char *path)
{
    vt_script_add(x, "sum ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}

/* At most 20,000 pieces: what is behind them is told as one. */
#define HOLES_PYTHON                                                                                  \
    "import errno, os, sys, time\n"                                                                   \
    "f = os.open(sys.argv[1], os.O_RDONLY)\n"                                                         \
    "s = os.fstat(f)\n"                                                                               \
    "o = [\"%d %d %d\" % (s.st_size, s.st_mtime, time.time())]\n"                                     \
    "a = 0\n"                                                                                         \
    "while len(o) < 20000:\n"                                                                         \
    "    try:\n"                                                                                      \
    "        d = os.lseek(f, a, os.SEEK_DATA)\n"                                                      \
    "    except OSError as e:\n"                                                                      \
    "        if e.errno != errno.ENXIO:\n"                                                            \
    "            raise\n"                                                                             \
    "        break\n"                                                                                 \
    "    a = os.lseek(f, d, os.SEEK_HOLE)\n"                                                          \
    "    o.append(\"%d %d\" % (d, a - d))\n"                                                          \
    "else:\n"                                                                                         \
    "    o.append(\"%d %d\" % (a, s.st_size - a))\n"                                                  \
    "print(\"\\n\".join(o))\n"

#define HOLES_PERL                                                                                    \
    "open(my $f, \"<\", $ARGV[0]) or exit 1;\n"                                                       \
    "my @s = stat $f;\n"                                                                              \
    "my @o = (join \" \", @s[7, 9], time);\n"                                                         \
    "my $a = 0;\n"                                                                                    \
    "while (@o < 20000) {\n"                                                                          \
    "    my $d = sysseek $f, $a, 3;\n"                                                                \
    "    if (!defined $d) { exit 1 if $! != 6; last }\n"                                              \
    "    $a = sysseek $f, $d + 0, 4;\n"                                                               \
    "    push @o, ($d + 0) . \" \" . ($a - $d);\n"                                                    \
    "}\n"                                                                                             \
    "push @o, \"$a \" . ($s[7] - $a) if @o >= 20000;\n"                                               \
    "print map { \"$_\\n\" } @o;\n"

void vt_script_holes(struct vt_script *x, const char *path)
{
    vt_script_add(x,
        "holes() {\n"
        " for p in python3 /usr/libexec/platform-python; do\n"
        "  if $p -c 'pass' 2>/dev/null; then\n"
        "   $p -c '" HOLES_PYTHON "' \"$1\" 2>/dev/null || return 1\n"
        "   return 0\n"
        "  fi\n"
        " done\n"
        " perl -e 1 2>/dev/null || return 9\n"
        " perl -e '" HOLES_PERL "' \"$1\" 2>/dev/null || return 1\n"
        "}\n"
        "holes ");
    vt_script_path(x, path);
    vt_script_add(x, "\n");
}
