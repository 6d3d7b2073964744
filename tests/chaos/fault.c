/* Preloaded into engine and launchers by the crash test: ends a process at a chosen write, fills its disk, moves its clock.
 *
 * What is to happen stands on a board, a page that all processes of one story and the test itself have mapped; faults.py
 * has the other end of it. Calls are counted there, over all processes, so that a fault happens once. In processes that
 * are neither engine nor launcher (tasks, and whatever else an engine starts) nothing of this does anything.
 */
#define _GNU_SOURCE
#undef _FILE_OFFSET_BITS
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { ENGINE, LAUNCHER, ROLES };
enum { TRACKER, SPOOL, PACK, OTHER, FILES };
enum { WRITE, SYNC, TRUNCATE, OPEN, RENAME, UNLINK, LINK, OPS };
enum { BEFORE, AFTER, TORN };
enum { KILL, FULL };
enum { IDLE, ARMED, OVER };

typedef struct {
    int32_t state, role, file, op, when, action, nth, length, seen, fired;
} Slot;

enum { SLOTS = 8 };

typedef struct {
    int64_t clock; /* nanoseconds that the wall clock is ahead */
    int64_t loose; /* offset from which on the tracker's log was written to and not synced since */
    int32_t boots; /* not 0: the id of the machine's start stands in a file beside the board */
    int32_t unused;
    Slot slots[SLOTS];
    uint32_t counts[ROLES][FILES][OPS];
} Board;

static Board *board;
static int role = -1;
static char boot_path[PATH_MAX];

static int runs(const char *text) {
    char line[65536];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long size = syscall(SYS_read, fd, line, sizeof line);
    syscall(SYS_close, fd);
    return size > 0 && memmem(line, (size_t)size, text, strlen(text)) != NULL;
}

static void take(const char *path, int mine) {
    if (strlen(path) > PATH_MAX - 8) return;
    strcpy(boot_path, path);
    strcat(boot_path, ".boot");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED) return;
    role = mine;
    board = mapped;
}

/* What a process calls that is about to be an engine. */
void chaos_engine(const char *path) { take(path, ENGINE); }

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("CHAOS_BOARD");
    if (path && runs("import os;n=")) take(path, LAUNCHER); /* a relay: its launchers have the board, too */
    if (!path || !runs("daggy.launcher.program")) return;
    take(path, LAUNCHER);
    unsetenv("LD_PRELOAD"); /* tasks get what the launcher has */
    unsetenv("CHAOS_BOARD");
}

static int file_of(const char *path) {
    if (strstr(path, "/daggy.db")) return strstr(path, "-shm") ? -1 : TRACKER;
    if (strstr(path, "/spool/")) return SPOOL;
    if (strstr(path, "/packs")) return PACK;
    if (strstr(path, "/state/") && !strstr(path, "/log")) return OTHER;
    return -1;
}

static int path_at(int fd, char path[PATH_MAX]) {
    char name[40] = "/proc/self/fd/", *at = name + 14, digits[12];
    int count = 0, rest = fd;
    if (fd < 0) return 0;
    do digits[count++] = (char)('0' + rest % 10); while (rest /= 10);
    while (count) *at++ = digits[--count];
    *at = 0;
    long size = syscall(SYS_readlinkat, AT_FDCWD, name, path, PATH_MAX - 1);
    if (size <= 0 || path[0] != '/') return 0;
    path[size] = 0;
    return 1;
}

static int file_at(int fd) {
    char path[PATH_MAX];
    return path_at(fd, path) ? file_of(path) : -1;
}

static int is_log(int fd, int file) {
    char path[PATH_MAX];
    return board && file == TRACKER && path_at(fd, path) && strstr(path, "/daggy.db-wal");
}

static void die(Slot *slot) {
    slot->fired = (int32_t)getpid();
    for (;;) syscall(SYS_kill, getpid(), SIGKILL);
}

/* What is to happen at this call. A slot that kills afterwards or in the middle is given back, another acts here. */
static Slot *met(int file, int op, int *full) {
    Slot *mine = NULL;
    *full = 0;
    if (!board || file < 0) return NULL;
    __sync_add_and_fetch(&board->counts[role][file][op], 1);
    for (int number = 0; number < SLOTS; number++) {
        Slot *slot = &board->slots[number];
        if (slot->state != ARMED || slot->role != role || slot->file != file || slot->op != op) continue;
        int32_t seen = __sync_add_and_fetch(&slot->seen, 1);
        if (slot->action == FULL) {
            if (seen >= slot->nth + slot->length) slot->state = OVER;
            else if (seen >= slot->nth) slot->fired = (int32_t)getpid(), *full = seen == slot->nth && slot->when == TORN ? 2 : 1;
        } else if (seen == slot->nth && __sync_bool_compare_and_swap(&slot->state, ARMED, OVER)) {
            if (slot->when == BEFORE) die(slot);
            mine = slot;
        }
    }
    return mine;
}

/* One call: counted, refused, or done and perhaps the last thing that this process does. */
#define CALL(file, op, call)                     \
    do {                                         \
        int full;                                \
        Slot *slot = met(file, op, &full);       \
        if (full) {                              \
            errno = ENOSPC;                      \
            return -1;                           \
        }                                        \
        long result = (call);                    \
        if (slot) die(slot);                     \
        return result;                           \
    } while (0)

/* The same for what writes `size` bytes; torn: half of them; a disk that fills up may have room for half, too. */
#define WRITES(fd, size, at, whole, half)        \
    do {                                         \
        int full, file = file_at(fd);            \
        if (is_log(fd, file) && (at) < board->loose) board->loose = (at); \
        Slot *slot = met(file, WRITE, &full);    \
        if (full == 2 && (size) > 1) return (half); \
        if (full) {                              \
            errno = ENOSPC;                      \
            return -1;                           \
        }                                        \
        if (slot && slot->when == TORN) {        \
            (void)(half);                        \
            die(slot);                           \
        }                                        \
        long result = (whole);                   \
        if (slot) die(slot);                     \
        return result;                           \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    WRITES(fd, size, lseek64(fd, 0, SEEK_CUR), syscall(SYS_write, fd, data, size), syscall(SYS_write, fd, data, size / 2));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    WRITES(fd, size, at, syscall(SYS_pwrite64, fd, data, size, at), syscall(SYS_pwrite64, fd, data, size / 2, at));
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) { return pwrite64(fd, data, size, at); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    WRITES(fd, 0, 0, syscall(SYS_writev, fd, parts, count), syscall(SYS_writev, fd, parts, count / 2));
}

/* What a power cut may take away: of the tracker's log all from `loose` on, of packs what has no sticky bit. */
static long synced(int fd, int file, long result) {
    if (!result && is_log(fd, file)) board->loose = INT64_MAX;
    if (!result && file == PACK) syscall(SYS_fchmod, fd, 01600);
    return result;
}

int fsync(int fd) {
    int file = file_at(fd);
    CALL(file, SYNC, synced(fd, file, syscall(SYS_fsync, fd)));
}

int fdatasync(int fd) {
    int file = file_at(fd);
    CALL(file, SYNC, synced(fd, file, syscall(SYS_fdatasync, fd)));
}

int ftruncate64(int fd, off64_t size) { CALL(file_at(fd), TRUNCATE, syscall(SYS_ftruncate, fd, size)); }

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int renameat(int from, const char *old, int to, const char *new) {
    CALL(file_of(new), RENAME, syscall(SYS_renameat, from, old, to, new));
}

int rename(const char *old, const char *new) { return renameat(AT_FDCWD, old, AT_FDCWD, new); }

int unlinkat(int from, const char *path, int flags) {
    CALL(file_of(path), UNLINK, syscall(SYS_unlinkat, from, path, flags));
}

int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    CALL(file_of(new), LINK, syscall(SYS_linkat, from, old, to, new, flags));
}

int link(const char *old, const char *new) { return linkat(AT_FDCWD, old, AT_FDCWD, new, 0); }

static int open_at(int from, const char *path, int flags, mode_t mode) {
    if (board && board->boots && !strcmp(path, "/proc/sys/kernel/random/boot_id")) path = boot_path;
    if (!board || !(flags & (O_CREAT | __O_TMPFILE))) return (int)syscall(SYS_openat, from, path, flags, mode);
    CALL(file_of(path), OPEN, syscall(SYS_openat, from, path, flags, mode));
}

#define MODE(flags)                                       \
    mode_t mode = 0;                                      \
    if (flags & (O_CREAT | __O_TMPFILE)) {                \
        va_list rest;                                     \
        va_start(rest, flags);                            \
        mode = va_arg(rest, mode_t);                      \
        va_end(rest);                                     \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open_at(AT_FDCWD, path, flags | O_LARGEFILE, mode);
}

int openat(int from, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(from, path, flags, mode);
}

int openat64(int from, const char *path, int flags, ...) {
    MODE(flags)
    return open_at(from, path, flags | O_LARGEFILE, mode);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = (int)syscall(SYS_clock_gettime, clock, now);
    if (!result && board && board->clock && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t whole = now->tv_sec * 1000000000LL + now->tv_nsec + board->clock;
        now->tv_sec = whole / 1000000000LL;
        now->tv_nsec = whole % 1000000000LL;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec exact;
    (void)zone;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
