/*
 * LD_PRELOAD recorder: every change of files and names below HOLDFAST_RECORD_ROOT ("a:b"), every sync, and
 * every acknowledgement, in one totally ordered log (HOLDFAST_RECORD_LOG). A change is made and logged under
 * one lock (also between processes), after it succeeded, with the bytes that were really taken.
 *
 * Record, little endian: u32 type, u32 flags, u64 inode, u64 offset, u32 lengths of path, path2, data, u32 0,
 * then path, path2, data. Types: see log.ts.
 *
 * Acknowledgement: whatever is written to "<root>/.ack" becomes ACK records; that file is never created.
 * What the replay could not model (shared writable mapping, symbolic link, fallocate) is logged as '?': the
 * replay refuses such a log instead of giving wrong states. A log that cannot be written aborts the process.
 */
#include "../tracked.h"
#include <pthread.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/syscall.h>

enum { FLAG_CREATED = 1, FLAG_TRUNCATED = 2, FLAG_DIRECTORY = 4 };
enum { UNTRACKED, TRACKED, TRACKED_SYNC, ACK };

static unsigned char kind[FD_MAX];
static uint64_t inode_of[FD_MAX];
static int log_fd = -1;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void start(void) {
  const char *log = getenv("HOLDFAST_RECORD_LOG");
  watched_roots = getenv("HOLDFAST_RECORD_ROOT");
  if (log == NULL || watched_roots == NULL) { watched_roots = NULL; return; }
  int fd = NEXT(open)(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
  /* High, so that the descriptor numbers that the program sees stay as they were. */
  log_fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 1000);
  if (log_fd < 0) { fprintf(stderr, "recorder: cannot open %s\n", log); abort(); }
  NEXT(close)(fd);
}

static void enter(void) { pthread_mutex_lock(&lock); flock(log_fd, LOCK_EX); }
static void leave(void) { int saved = errno; flock(log_fd, LOCK_UN); pthread_mutex_unlock(&lock); errno = saved; }

static void record(char type, uint32_t flags, uint64_t inode, uint64_t offset, const char *path,
                   const char *path2, const void *data, size_t size) {
  int saved = errno;
  struct __attribute__((packed)) { uint32_t type, flags; uint64_t inode, offset; uint32_t sizes[4]; } head =
      {(uint32_t)type, flags, inode, offset,
       {path ? strlen(path) : 0, path2 ? strlen(path2) : 0, (uint32_t)size, 0}};
  struct iovec parts[4] = {{&head, sizeof head}, {(void *)path, head.sizes[0]},
                           {(void *)path2, head.sizes[1]}, {(void *)data, size}};
  ssize_t total = (ssize_t)(sizeof head + head.sizes[0] + head.sizes[1] + size);
  if (NEXT(writev)(log_fd, parts, 4) != total) { fprintf(stderr, "recorder: log write failed\n"); abort(); }
  errno = saved;
}

static int kind_of(int fd) { return fd >= 0 && fd < FD_MAX ? kind[fd] : UNTRACKED; }
static void forget(int fd) { if (fd >= 0 && fd < FD_MAX) kind[fd] = UNTRACKED; }

/* ---- open and close ---- */

static int opened(int (*open_it)(int, const char *, int, mode_t), int dirfd, const char *path, int flags, mode_t mode) {
  char full[PATH_MAX];
  if (!watched(dirfd, path, full)) {
    int fd = open_it(dirfd, path, flags, mode);
    forget(fd);
    return fd;
  }
  size_t n = strlen(full);
  if (n > 5 && strcmp(full + n - 5, "/.ack") == 0) {
    int fd = open_it(AT_FDCWD, "/dev/null", O_WRONLY | O_CLOEXEC, 0);
    if (fd >= 0 && fd < FD_MAX) kind[fd] = ACK, inode_of[fd] = 0;
    return fd;
  }
  enter();
  int existed = NEXT(faccessat)(AT_FDCWD, full, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
  int fd = open_it(dirfd, path, flags, mode);
  struct stat info;
  if (fd >= FD_MAX) abort();
  if (fd >= 0 && fstat(fd, &info) == 0) {
    int writable = (flags & O_ACCMODE) != O_RDONLY;
    kind[fd] = writable && (flags & (O_SYNC | O_DSYNC)) ? TRACKED_SYNC : TRACKED;
    inode_of[fd] = info.st_ino;
    if ((flags & O_TMPFILE) == O_TMPFILE) record('?', 0, 0, 0, "O_TMPFILE", NULL, NULL, 0);
    record('O', (existed ? 0 : FLAG_CREATED) | (flags & O_TRUNC && writable ? FLAG_TRUNCATED : 0) |
           (S_ISDIR(info.st_mode) ? FLAG_DIRECTORY : 0), info.st_ino, 0, full, NULL, NULL, 0);
  }
  leave();
  return fd;
}

static int by_open(int d, const char *p, int f, mode_t m) { (void)d; return NEXT(open)(p, f, m); }
static int by_open64(int d, const char *p, int f, mode_t m) { (void)d; return NEXT(open64)(p, f, m); }
static int by_openat(int d, const char *p, int f, mode_t m) { return NEXT(openat)(d, p, f, m); }
static int by_openat64(int d, const char *p, int f, mode_t m) { return NEXT(openat64)(d, p, f, m); }
int open(const char *p, int flags, ...) { MODE_ARGUMENT(flags, m) return opened(by_open, AT_FDCWD, p, flags, m); }
int open64(const char *p, int flags, ...) { MODE_ARGUMENT(flags, m) return opened(by_open64, AT_FDCWD, p, flags, m); }
int openat(int d, const char *p, int flags, ...) { MODE_ARGUMENT(flags, m) return opened(by_openat, d, p, flags, m); }
int openat64(int d, const char *p, int flags, ...) { MODE_ARGUMENT(flags, m) return opened(by_openat64, d, p, flags, m); }
int creat(const char *p, mode_t m) { return opened(by_open, AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, m); }
int creat64(const char *p, mode_t m) { return opened(by_open64, AT_FDCWD, p, O_CREAT | O_WRONLY | O_TRUNC, m); }
int close(int fd) {
  if (kind_of(fd) == TRACKED || kind_of(fd) == TRACKED_SYNC) {
    enter();
    record('C', 0, inode_of[fd], 0, NULL, NULL, NULL, 0);
    leave();
  }
  forget(fd);
  return NEXT(close)(fd);
}

/* ---- data ---- */

/* `offset` < 0: the call moved the file position, which now stands behind the bytes (also with O_APPEND). */
static void wrote(int fd, const void *data, ssize_t n, off_t offset) {
  if (n < 0) return;
  if (kind[fd] == ACK) { record('A', 0, 0, 0, NULL, NULL, data, (size_t)n); return; }
  if (offset < 0) offset = lseek(fd, 0, SEEK_CUR) - n;
  record('W', 0, inode_of[fd], (uint64_t)offset, NULL, NULL, data, (size_t)n);
  if (kind[fd] == TRACKED_SYNC) record('S', 0, inode_of[fd], 0, NULL, NULL, NULL, 0);
}

static void wrote_parts(int fd, const struct iovec *parts, int count, ssize_t n, off_t offset) {
  if (n <= 0) return;
  char *whole = malloc((size_t)n);
  size_t filled = 0;
  if (whole == NULL) abort();
  for (int i = 0; i < count && filled < (size_t)n; i++) {
    size_t take = parts[i].iov_len < (size_t)n - filled ? parts[i].iov_len : (size_t)n - filled;
    memcpy(whole + filled, parts[i].iov_base, take);
    filled += take;
  }
  wrote(fd, whole, n, offset);
  free(whole);
}

#define LOGGED(call, log)                       \
  if (kind_of(fd) == UNTRACKED) return call;    \
  enter();                                      \
  ssize_t n = call;                             \
  log;                                          \
  leave();                                      \
  return n;
ssize_t write(int fd, const void *b, size_t s) { LOGGED(NEXT(write)(fd, b, s), wrote(fd, b, n, -1)) }
ssize_t pwrite(int fd, const void *b, size_t s, off_t o) { LOGGED(NEXT(pwrite)(fd, b, s, o), wrote(fd, b, n, o)) }
ssize_t pwrite64(int fd, const void *b, size_t s, off64_t o) { LOGGED(NEXT(pwrite64)(fd, b, s, o), wrote(fd, b, n, o)) }
ssize_t writev(int fd, const struct iovec *v, int c) { LOGGED(NEXT(writev)(fd, v, c), wrote_parts(fd, v, c, n, -1)) }
ssize_t pwritev(int fd, const struct iovec *v, int c, off_t o) { LOGGED(NEXT(pwritev)(fd, v, c, o), wrote_parts(fd, v, c, n, o)) }
ssize_t pwritev64(int fd, const struct iovec *v, int c, off64_t o) { LOGGED(NEXT(pwritev64)(fd, v, c, o), wrote_parts(fd, v, c, n, o)) }

/* Copies inside the kernel are turned away with the errors after which callers read and write instead (libuv:
 * copy_file_range by its number, then sendfile). */
ssize_t sendfile(int fd, int in, off_t *o, size_t s) {
  if (kind_of(fd) != UNTRACKED) { errno = EINVAL; return -1; }
  return NEXT(sendfile)(fd, in, o, s);
}
ssize_t sendfile64(int fd, int in, off64_t *o, size_t s) {
  if (kind_of(fd) != UNTRACKED) { errno = EINVAL; return -1; }
  return NEXT(sendfile64)(fd, in, o, s);
}
ssize_t copy_file_range(int in, off64_t *a, int fd, off64_t *b, size_t s, unsigned f) {
  if (kind_of(fd) != UNTRACKED) { errno = ENOSYS; return -1; }
  return NEXT(copy_file_range)(in, a, fd, b, s, f);
}
long syscall(long number, ...) {
  long a[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) a[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_copy_file_range || number == SYS_io_uring_setup) { errno = ENOSYS; return -1; }
  return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int resized(int result, int fd, off_t size) {
  if (result == 0) record('T', 0, inode_of[fd], (uint64_t)size, NULL, NULL, NULL, 0);
  return result;
}
int ftruncate(int fd, off_t s) { LOGGED(NEXT(ftruncate)(fd, s), resized((int)n, fd, s)) }
int ftruncate64(int fd, off64_t s) { LOGGED(NEXT(ftruncate64)(fd, s), resized((int)n, fd, s)) }
int posix_fallocate(int fd, off_t o, off_t s) { LOGGED(NEXT(posix_fallocate)(fd, o, s), record('?', 0, 0, 0, "posix_fallocate", NULL, NULL, 0)) }
int posix_fallocate64(int fd, off64_t o, off64_t s) { LOGGED(NEXT(posix_fallocate64)(fd, o, s), record('?', 0, 0, 0, "posix_fallocate", NULL, NULL, 0)) }
int fallocate(int fd, int m, off_t o, off_t s) { LOGGED(NEXT(fallocate)(fd, m, o, s), record('?', 0, 0, 0, "fallocate", NULL, NULL, 0)) }

static void mapped(int fd, int protection, int flags) {
  if (kind_of(fd) != UNTRACKED && kind[fd] != ACK && (protection & PROT_WRITE) && (flags & MAP_SHARED)) {
    enter(); record('?', 0, 0, 0, "mmap", NULL, NULL, 0); leave();
  }
}
void *mmap(void *a, size_t s, int p, int f, int fd, off_t o) { mapped(fd, p, f); return NEXT(mmap)(a, s, p, f, fd, o); }
void *mmap64(void *a, size_t s, int p, int f, int fd, off64_t o) { mapped(fd, p, f); return NEXT(mmap64)(a, s, p, f, fd, o); }

/* A failed sync is logged as 'F': Linux then marks the pages clean, a later sync does not write them. */
int fsync(int fd) { LOGGED(NEXT(fsync)(fd), record(n == 0 ? 'S' : 'F', 0, inode_of[fd], 0, NULL, NULL, NULL, 0)) }
int fdatasync(int fd) { LOGGED(NEXT(fdatasync)(fd), record(n == 0 ? 'S' : 'F', 0, inode_of[fd], 0, NULL, NULL, NULL, 0)) }

/* ---- names ---- */

static int name_change(int (*change)(int, const char *, int, const char *, int), char type, int d1, const char *p1,
                       int d2, const char *p2, int argument) {
  char one[PATH_MAX] = "", two[PATH_MAX] = "";
  int in1 = watched(d1, p1, one), in2 = p2 != NULL && watched(d2, p2, two);
  if (!in1 && !in2) return change(d1, p1, d2, p2, argument);
  enter();
  struct stat info = {0};
  int directory = lstat(one, &info) == 0 && S_ISDIR(info.st_mode);
  int result = change(d1, p1, d2, p2, argument);
  if (result == 0) {
    if (type == 'M') lstat(one, &info);
    if (p2 != NULL && in1 != in2) record('?', 0, 0, 0, "rename or link across the root", NULL, NULL, 0);
    else record(type == 'U' && directory ? 'X' : type, type == 'R' ? (uint32_t)argument : 0, info.st_ino, 0, one,
                p2 ? two : NULL, NULL, 0);
  }
  leave();
  return result;
}

static int by_rename(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)f; return NEXT(rename)(p, q); }
static int by_renameat(int a, const char *p, int b, const char *q, int f) { (void)f; return NEXT(renameat)(a, p, b, q); }
static int by_renameat2(int a, const char *p, int b, const char *q, int f) { return NEXT(renameat2)(a, p, b, q, (unsigned)f); }
static int by_link(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)f; return NEXT(link)(p, q); }
static int by_linkat(int a, const char *p, int b, const char *q, int f) { return NEXT(linkat)(a, p, b, q, f); }
static int by_unlink(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)q, (void)f; return NEXT(unlink)(p); }
static int by_unlinkat(int a, const char *p, int b, const char *q, int f) { (void)b, (void)q; return NEXT(unlinkat)(a, p, f); }
static int by_remove(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)q, (void)f; return NEXT(remove)(p); }
static int by_rmdir(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)q, (void)f; return NEXT(rmdir)(p); }
static int by_mkdir(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)q; return NEXT(mkdir)(p, (mode_t)f); }
static int by_mkdirat(int a, const char *p, int b, const char *q, int f) { (void)b, (void)q; return NEXT(mkdirat)(a, p, (mode_t)f); }
static int by_symlink(int a, const char *p, int b, const char *q, int f) { (void)a, (void)b, (void)f; return NEXT(symlink)(q, p); }
int rename(const char *p, const char *q) { return name_change(by_rename, 'R', AT_FDCWD, p, AT_FDCWD, q, 0); }
int renameat(int a, const char *p, int b, const char *q) { return name_change(by_renameat, 'R', a, p, b, q, 0); }
int renameat2(int a, const char *p, int b, const char *q, unsigned f) { return name_change(by_renameat2, f > 1 ? '?' : 'R', a, p, b, q, (int)f); }
int link(const char *p, const char *q) { return name_change(by_link, 'L', AT_FDCWD, p, AT_FDCWD, q, 0); }
int linkat(int a, const char *p, int b, const char *q, int f) { return name_change(by_linkat, 'L', a, p, b, q, f); }
int unlink(const char *p) { return name_change(by_unlink, 'U', AT_FDCWD, p, 0, NULL, 0); }
int unlinkat(int a, const char *p, int f) { return name_change(by_unlinkat, 'U', a, p, 0, NULL, f); }
int remove(const char *p) { return name_change(by_remove, 'U', AT_FDCWD, p, 0, NULL, 0); }
int rmdir(const char *p) { return name_change(by_rmdir, 'X', AT_FDCWD, p, 0, NULL, 0); }
int mkdir(const char *p, mode_t m) { return name_change(by_mkdir, 'M', AT_FDCWD, p, 0, NULL, (int)m); }
int mkdirat(int a, const char *p, mode_t m) { return name_change(by_mkdirat, 'M', a, p, 0, NULL, (int)m); }
int symlink(const char *q, const char *p) { return name_change(by_symlink, '?', AT_FDCWD, p, 0, q, 0) ; }
