/* Stands between a server and its disk: notes what was made durable, and can be slow or full.
 *
 * HIVEBUS_DISK_LOG      gets a line "<size> <path>" for each file that was synced, up to the size it had before
 * HIVEBUS_DISK_CONTROL  holds three integers of 32 bits: milliseconds that each sync takes longer, whether
 *                       the disk is full, and seconds by which the clock is wrong
 *
 * Declared by hand instead of by headers, so that a bare compiler is enough.
 */
typedef long ssize;
typedef unsigned long size;
extern void *dlsym(void *handle, const char *name);
extern char *getenv(const char *name);
extern int open(const char *path, int flags, ...);
extern void *mmap(void *at, size length, int protection, int flags, int fd, long offset);
extern long lseek(int fd, long offset, int whence);
extern ssize readlink(const char *path, char *buffer, size length);
extern int snprintf(char *buffer, size length, const char *format, ...);
extern int usleep(unsigned microseconds);
extern int *__errno_location(void);

#define NEXT ((void *)-1L)
#define FULL 28

static volatile int *control;
static int log_file = -1;
static ssize (*real_write)(int, const void *, size);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_gettimeofday)(long *, void *);
static int (*real_clock_gettime)(int, long *);

/* Others may call before our constructor has run. */
static void resolve(void) {
    real_write = dlsym(NEXT, "write");
    real_fdatasync = dlsym(NEXT, "fdatasync");
    real_fsync = dlsym(NEXT, "fsync");
    real_gettimeofday = dlsym(NEXT, "gettimeofday");
    real_clock_gettime = dlsym(NEXT, "clock_gettime");
}

__attribute__((constructor)) static void start(void) {
    resolve();
    const char *path = getenv("HIVEBUS_DISK_LOG");
    if (path) log_file = open(path, 02001 /* O_WRONLY | O_APPEND */);
    path = getenv("HIVEBUS_DISK_CONTROL");
    int fd = path ? open(path, 0 /* O_RDONLY */) : -1;
    void *page = fd >= 0 ? mmap(0, 4096, 1 /* PROT_READ */, 1 /* MAP_SHARED */, fd, 0) : NEXT;
    if (page != NEXT) control = page;
}

static int synced(int fd, int (*sync)(int)) {
    /* Asked before: what is written meanwhile may not be covered. */
    long end = lseek(fd, 0, 2 /* SEEK_END: its files are appended to, wherever the position is */);
    if (control && control[0]) usleep(1000u * control[0]);
    int result = sync(fd);
    if (result == 0 && end >= 0 && log_file >= 0) {
        char name[64], line[1200], path[1100];
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
        ssize length = readlink(name, path, sizeof path - 1);
        if (length > 0) {
            path[length] = 0;
            int count = snprintf(line, sizeof line, "%ld %s\n", end, path);
            real_write(log_file, line, count);
        }
    }
    return result;
}

int fdatasync(int fd) { return synced(fd, real_fdatasync); }
int fsync(int fd) { return synced(fd, real_fsync); }

ssize write(int fd, const void *data, size length) {
    /* A socket has no size. */
    if (control && control[1] && lseek(fd, 0, 2) > 0) {
        *__errno_location() = FULL;
        return -1;
    }
    if (!real_write) resolve();
    return real_write(fd, data, length);
}

int gettimeofday(long *time, void *zone) {
    if (!real_gettimeofday) resolve();
    int result = real_gettimeofday(time, zone);
    if (time && control) time[0] += control[2];
    return result;
}

int clock_gettime(int clock, long *time) {
    if (!real_clock_gettime) resolve();
    int result = real_clock_gettime(clock, time);
    if (clock == 0 /* CLOCK_REALTIME */ && control) time[0] += control[2];
    return result;
}
