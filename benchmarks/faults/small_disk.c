/* A disk of DISK_LEFT bytes for everything under DISK_FOLDER, shared by all processes that load this library.
 * DISK_LEFT names a file that holds the number; a new file or folder costs 64 bytes. A write that does not fit
 * is cut short, and the next one is refused, as by a real disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int64_t spend(int64_t wanted) {
    static int64_t *left;
    if (!getenv("DISK_LEFT")) return wanted;
    if (!left) {
        int file = syscall(SYS_openat, AT_FDCWD, getenv("DISK_LEFT"), O_RDWR | O_CLOEXEC, 0);
        left = mmap(NULL, sizeof *left, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (file < 0 || left == MAP_FAILED) abort();
        syscall(SYS_close, file);
    }
    for (int64_t now = *left;;) {
        int64_t got = wanted < now ? wanted : now;
        if (__atomic_compare_exchange_n(left, &now, now - got, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) return got;
    }
}

static int inside(const char *path) {
    const char *folder = getenv("DISK_FOLDER");
    return folder && path && !strncmp(path, folder, strlen(folder));
}

static int on_disk(int descriptor) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(name, path, sizeof path - 1);
    path[length > 0 ? length : 0] = 0;
    return inside(path);
}

static int refused(void) { errno = ENOSPC; return -1; }
static int no_room(const char *path) { return inside(path) && access(path, F_OK) && spend(64) < 64; }

ssize_t write(int fd, const void *data, size_t size) {
    int64_t room = on_disk(fd) ? spend(size) : (int64_t)size;
    return size && !room ? refused() : REAL(write)(fd, data, room);
}
ssize_t writev(int fd, const struct iovec *parts, int count) { return count ? write(fd, parts->iov_base, parts->iov_len) : 0; }
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    int64_t room = on_disk(fd) ? spend(size) : (int64_t)size;
    return size && !room ? refused() : REAL(pwrite64)(fd, data, room, at);
}
int ftruncate64(int fd, off64_t size) {
    struct stat now;
    int64_t more = fstat(fd, &now) ? 0 : size - now.st_size;
    return more > 0 && on_disk(fd) && spend(more) < more ? refused() : REAL(ftruncate64)(fd, size);
}
int mkdir(const char *path, mode_t mode) { return no_room(path) ? refused() : REAL(mkdir)(path, mode); }

#define MODE(flags) va_list rest; va_start(rest, flags); mode_t mode = (flags) & O_CREAT ? va_arg(rest, mode_t) : 0; va_end(rest)
#define OPEN(name) \
    int name(const char *path, int flags, ...) { MODE(flags); return flags & O_CREAT && no_room(path) ? refused() : REAL(name)(path, flags, mode); }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) { MODE(flags); return flags & O_CREAT && no_room(path) ? refused() : REAL(name)(at, path, flags, mode); }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
