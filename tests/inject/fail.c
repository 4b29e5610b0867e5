/* fail.c - makes one call of a module's imported functions fail, on the module as it is built:
 * its import table is patched, so that each call is counted on its way. x86-64 ELF. */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define IMPORTS_MAX 600
#define STUB 32                     /* bytes of code for each */

/* How a function fails: NULL or -1, with MemoryError set, with ENOMEM, or with errno. */
enum how { PY_NULL, PY_MINUS, ALLOC, SYS_MINUS, SYS_NULL };

struct import {
    const char *name;
    enum how how;
    void *function;
};

static struct import imports[IMPORTS_MAX];
static int count;
static long failing = -1;           /* the call that fails, counted from 0 */
static int armed, failing_errno;
static void *(*no_memory)(void);
static unsigned char *stubs;

static long give_null(void)
{
    return 0;
}

static long give_minus(void)
{
    return -1;
}

/* Counted together with the processes that the module forks. */
struct shared {
    atomic_long calls;
    atomic_int failed;              /* index of the import that did, and 1; or 0 */
};
static struct shared *shared;

/* Where the call goes: to the function, or to one that stands for its failure. */
void *fail_route(long index)
{
    struct import *i = &imports[index];
    int sys = errno;
    void *to = i->function;
    if (armed && atomic_fetch_add(&shared->calls, 1) == failing) {
        shared->failed = (int)index + 1;
        to = i->how == PY_NULL || i->how == ALLOC || i->how == SYS_NULL ? (void *)give_null : (void *)give_minus;
        if (i->how == PY_NULL || i->how == PY_MINUS)
            no_memory();
        else
            sys = i->how == ALLOC ? ENOMEM : failing_errno;
    }
    errno = sys;
    return to;
}

/* Keeps all registers that carry arguments; the index is on the stack, and becomes the
 * address to go to. */
__asm__(
    "fail_enter:\n"
    "  push %rax\n push %rdi\n push %rsi\n push %rdx\n push %rcx\n push %r8\n push %r9\n push %r10\n"
    "  sub $128, %rsp\n"
    "  movups %xmm0, (%rsp)\n movups %xmm1, 16(%rsp)\n movups %xmm2, 32(%rsp)\n movups %xmm3, 48(%rsp)\n"
    "  movups %xmm4, 64(%rsp)\n movups %xmm5, 80(%rsp)\n movups %xmm6, 96(%rsp)\n movups %xmm7, 112(%rsp)\n"
    "  mov 192(%rsp), %rdi\n"
    "  call fail_route\n"
    "  mov %rax, 192(%rsp)\n"
    "  movups (%rsp), %xmm0\n movups 16(%rsp), %xmm1\n movups 32(%rsp), %xmm2\n movups 48(%rsp), %xmm3\n"
    "  movups 64(%rsp), %xmm4\n movups 80(%rsp), %xmm5\n movups 96(%rsp), %xmm6\n movups 112(%rsp), %xmm7\n"
    "  add $128, %rsp\n"
    "  pop %r10\n pop %r9\n pop %r8\n pop %rcx\n pop %rdx\n pop %rsi\n pop %rdi\n pop %rax\n"
    "  ret\n");
extern char fail_enter[] __attribute__((visibility("hidden")));

static void *stub(int index)
{
    if (stubs == NULL)
        stubs = mmap(NULL, IMPORTS_MAX * STUB, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned char *p = stubs + (size_t)index * STUB;
    void *to = fail_enter;
    p[0] = 0x68;                            /* push index */
    memcpy(p + 1, &index, 4);
    memcpy(p + 5, "\xff\x25\0\0\0\0", 6);   /* jmp *0(%rip) */
    memcpy(p + 11, &to, sizeof to);
    return p;
}

struct wanted {
    const char *module, *names;
    enum how how;
    int patched;
};

static int has_name(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = list; (p = strstr(p, name)) != NULL; p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return 1;
    return 0;
}

static void patch(struct wanted *w, void *module, const char *name, void **slot)
{
    void *function = dlsym(module, name);
    if (function == NULL)
        function = dlsym(RTLD_DEFAULT, name);       /* the interpreter's own */
    if (function == NULL || count == IMPORTS_MAX)
        return;
    uintptr_t page = (uintptr_t)slot & ~(uintptr_t)4095;
    mprotect((void *)page, 8192, PROT_READ | PROT_WRITE);
    imports[count] = (struct import){name, w->how, function};
    *slot = stub(count++);
    w->patched++;
}

struct tables {
    ElfW(Rela) *list[2];
    size_t size[2];
    ElfW(Sym) *symbols;
    const char *names;
};

static void read_dynamic(const ElfW(Dyn) *d, struct tables *t)
{
    for (; d->d_tag != DT_NULL; d++) {
        switch (d->d_tag) {
        case DT_JMPREL: t->list[0] = (void *)d->d_un.d_ptr; break;
        case DT_PLTRELSZ: t->size[0] = d->d_un.d_val; break;
        case DT_RELA: t->list[1] = (void *)d->d_un.d_ptr; break;
        case DT_RELASZ: t->size[1] = d->d_un.d_val; break;
        case DT_SYMTAB: t->symbols = (void *)d->d_un.d_ptr; break;
        case DT_STRTAB: t->names = (void *)d->d_un.d_ptr; break;
        }
    }
}

static int visit(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct wanted *w = arg;
    struct tables t = {0};
    (void)size;
    if (strstr(info->dlpi_name, w->module) == NULL)
        return 0;
    void *module = dlopen(info->dlpi_name, RTLD_LAZY | RTLD_NOLOAD);    /* it and what it needs */
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_DYNAMIC)
            read_dynamic((void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), &t);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; t.list[k] != NULL && i < t.size[k] / sizeof(ElfW(Rela)); i++) {
            const ElfW(Rela) *r = &t.list[k][i];
            unsigned long type = ELF64_R_TYPE(r->r_info);
            const char *name = t.names + t.symbols[ELF64_R_SYM(r->r_info)].st_name;
            if ((type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT) && has_name(w->names, name))
                patch(w, module, name, (void **)(info->dlpi_addr + r->r_offset));
        }
    }
    return 0;
}

int fail_patch(const char *module, const char *names, int how)
{
    struct wanted w = {module, names, (enum how)how, 0};
    no_memory = (void *(*)(void))dlsym(RTLD_DEFAULT, "PyErr_NoMemory");
    dl_iterate_phdr(visit, &w);
    return w.patched;
}

void fail_arm(long call, int sys)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    failing = call;
    failing_errno = sys;
    armed = 1;
}

long fail_disarm(void)
{
    armed = 0;
    return shared->calls;
}

const char *fail_name(void)
{
    return shared->failed == 0 ? "" : imports[shared->failed - 1].name;
}
