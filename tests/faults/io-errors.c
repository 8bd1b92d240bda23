/*
 * LD_PRELOAD injector: the nth call of one function on files below HOLDFAST_FAULT_ROOT fails.
 *
 * HOLDFAST_FAULT = "function:nth:error:once|sticky", nth from 1, counted over all threads of a process.
 *   function  pwrite64 | write | fsync | ftruncate64 | pread64 | open | rename | unlink; variants of the same call
 *             (pwrite, fdatasync, writev, openat, …) count as it
 *   error     EIO | ENOSPC | SHORT (half of the bytes are taken, the next such call fails with ENOSPC) | KILL
 * A fault that happened creates the file HOLDFAST_FAULT_HIT: a loop over n ends where the fault is not reached.
 * Together with the recorder, put the recorder first in LD_PRELOAD: it then sees what really happened.
 */
#include "tracked.h"
#include <signal.h>

static char function[32], error_name[16];
static long nth, calls;
static int sticky, after_short;
static unsigned char tracked[FD_MAX];

__attribute__((constructor)) static void start(void) {
  const char *spec = getenv("HOLDFAST_FAULT");
  char repeat[16];
  if (spec == NULL) return;
  if (sscanf(spec, "%31[^:]:%ld:%15[^:]:%15s", function, &nth, error_name, repeat) != 4) abort();
  sticky = strcmp(repeat, "sticky") == 0;
  watched_roots = getenv("HOLDFAST_FAULT_ROOT");
}

/* 0: go on; -1: fail with errno set; 1: take half of the bytes. */
static int fault(const char *name) {
  if (nth == 0 || strcmp(name, function) != 0) return 0;
  long call = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
  if (__atomic_exchange_n(&after_short, 0, __ATOMIC_SEQ_CST)) { errno = ENOSPC; return -1; }
  if (call != nth && !(sticky && call > nth)) return 0;
  const char *hit = getenv("HOLDFAST_FAULT_HIT");
  int fd = hit ? NEXT(open)(hit, O_CREAT | O_WRONLY | O_CLOEXEC, 0600) : -1;
  if (fd >= 0) NEXT(close)(fd);
  if (strcmp(error_name, "KILL") == 0) kill(getpid(), SIGKILL);
  if (strcmp(error_name, "SHORT") == 0) { after_short = 1; return 1; }
  errno = strcmp(error_name, "ENOSPC") == 0 ? ENOSPC : EIO;
  return -1;
}

static int is_tracked(int fd) { return fd >= 0 && fd < FD_MAX && tracked[fd]; }
static int keep(int fd, int in) { if (fd >= 0 && fd < FD_MAX) tracked[fd] = (unsigned char)in; return fd; }

#define OPEN(dirfd, call)                                \
  MODE_ARGUMENT(flags, mode)                             \
  char full[PATH_MAX];                                   \
  int in = watched(dirfd, path, full);                   \
  if (in && fault("open") != 0) {                        \
    if (strcmp(error_name, "SHORT") == 0) errno = EIO;   \
    return -1;                                           \
  }                                                      \
  return keep(call, in);
int open(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open)(path, flags, mode)) }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD, NEXT(open64)(path, flags, mode)) }
int openat(int dirfd, const char *path, int flags, ...) { OPEN(dirfd, NEXT(openat)(dirfd, path, flags, mode)) }
int openat64(int dirfd, const char *path, int flags, ...) { OPEN(dirfd, NEXT(openat64)(dirfd, path, flags, mode)) }
int close(int fd) { keep(fd, 0); return NEXT(close)(fd); }

/* A call that moves bytes: may be cut to half. */
#define BYTES(name, size, call)                          \
  int verdict = is_tracked(fd) ? fault(name) : 0;        \
  if (verdict < 0) return -1;                            \
  if (verdict > 0) size = size > 1 ? size / 2 : size;    \
  return call;
ssize_t pwrite(int fd, const void *b, size_t s, off_t o) { BYTES("pwrite64", s, NEXT(pwrite)(fd, b, s, o)) }
ssize_t pwrite64(int fd, const void *b, size_t s, off64_t o) { BYTES("pwrite64", s, NEXT(pwrite64)(fd, b, s, o)) }
ssize_t write(int fd, const void *b, size_t s) { BYTES("write", s, NEXT(write)(fd, b, s)) }
ssize_t writev(int fd, const struct iovec *v, int s) { BYTES("write", s, NEXT(writev)(fd, v, s)) }
ssize_t pread(int fd, void *b, size_t s, off_t o) { BYTES("pread64", s, NEXT(pread)(fd, b, s, o)) }
ssize_t pread64(int fd, void *b, size_t s, off64_t o) { BYTES("pread64", s, NEXT(pread64)(fd, b, s, o)) }

/* A call that happens or not. SHORT has no meaning here and fails. */
#define WHOLE(condition, name, call)                     \
  if ((condition) && fault(name) != 0) {                 \
    if (strcmp(error_name, "SHORT") == 0) errno = EIO;   \
    return -1;                                           \
  }                                                      \
  return call;
int fsync(int fd) { WHOLE(is_tracked(fd), "fsync", NEXT(fsync)(fd)) }
int fdatasync(int fd) { WHOLE(is_tracked(fd), "fsync", NEXT(fdatasync)(fd)) }
int ftruncate(int fd, off_t s) { WHOLE(is_tracked(fd), "ftruncate64", NEXT(ftruncate)(fd, s)) }
int ftruncate64(int fd, off64_t s) { WHOLE(is_tracked(fd), "ftruncate64", NEXT(ftruncate64)(fd, s)) }
int rename(const char *a, const char *b) { char full[PATH_MAX]; WHOLE(watched(AT_FDCWD, a, full), "rename", NEXT(rename)(a, b)) }
int unlink(const char *a) { char full[PATH_MAX]; WHOLE(watched(AT_FDCWD, a, full), "unlink", NEXT(unlink)(a)) }
