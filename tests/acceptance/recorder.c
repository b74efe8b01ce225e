/* Records what a process writes below one folder, in order, so that power cuts can be played back later.
 *
 * LD_PRELOAD it with CDMD_RECORD=FILE and CDMD_RECORD_BELOW=FOLDER. Each row: a header, a path, another path or data.
 * A row is written after its call came back; times are of CLOCK_MONOTONIC.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

struct row { double time; uint32_t kind, path, data; int64_t offset; } __attribute__((packed));

static int out = -1;
static char below[PATH_MAX];
static size_t below_length;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("CDMD_RECORD"), *folder = getenv("CDMD_RECORD_BELOW");
    if (!file || !folder) return;
    snprintf(below, sizeof below, "%s/", folder);
    below_length = strlen(below);
    out = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void record(char kind, const char *path, int64_t offset, const void *data, size_t size) {
    if (out < 0 || (strncmp(path, below, below_length) && strncmp(path, below, below_length - 1))) return;
    ssize_t (*put)(int, const void *, size_t) = next("write");
    struct timespec now;
    char *buffer;
    int was = errno;
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_MONOTONIC, &now);
    struct row row = { now.tv_sec + now.tv_nsec / 1e9, (uint32_t)kind, strlen(path), size, offset };
    size_t whole = sizeof row + row.path + size;
    buffer = malloc(whole);
    memcpy(buffer, &row, sizeof row);
    memcpy(buffer + sizeof row, path, row.path);
    if (size) memcpy(buffer + sizeof row + row.path, data, size);
    if (put(out, buffer, whole) != (ssize_t)whole) abort();
    free(buffer);
    pthread_mutex_unlock(&lock);
    errno = was;
}

static void by_handle(char kind, int handle, int64_t offset, const void *data, size_t size) {
    char link[64], path[PATH_MAX];
    if (out < 0 || handle == out) return;
    int was = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", handle);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = was;
    if (length <= 0) return;
    path[length] = 0;
    record(kind, path, offset, data, size);
}

static void by_name(char kind, const char *name, const char *other) {
    record(kind, name, 0, other, other ? strlen(other) : 0);
}

ssize_t write(int handle, const void *data, size_t size) {
    static ssize_t (*real)(int, const void *, size_t);
    if (!real) real = next("write");
    ssize_t done = real(handle, data, size);
    if (done > 0 && out >= 0) {
        int was = errno;
        off_t end = lseek(handle, 0, SEEK_CUR);
        errno = was;
        if (end >= done) by_handle('w', handle, end - done, data, done);
    }
    return done;
}

#define PWRITE(name, type) \
    ssize_t name(int handle, const void *data, size_t size, type offset) { \
        static ssize_t (*real)(int, const void *, size_t, type); \
        if (!real) real = next(#name); \
        ssize_t done = real(handle, data, size, offset); \
        if (done > 0) by_handle('w', handle, offset, data, done); \
        return done; \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, type) \
    int name(int handle, type length) { \
        static int (*real)(int, type); \
        if (!real) real = next(#name); \
        int failed = real(handle, length); \
        if (!failed) by_handle('t', handle, length, 0, 0); \
        return failed; \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
    int name(int handle) { \
        static int (*real)(int); \
        if (!real) real = next(#name); \
        int failed = real(handle); \
        if (!failed) by_handle('s', handle, 0, 0, 0); \
        return failed; \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *name) {
    static int (*real)(const char *);
    if (!real) real = next("unlink");
    int failed = real(name);
    if (!failed) by_name('u', name, 0);
    return failed;
}

int rename(const char *name, const char *other) {
    static int (*real)(const char *, const char *);
    if (!real) real = next("rename");
    int failed = real(name, other);
    if (!failed) by_name('r', name, other);
    return failed;
}
