/*
 * Shared by the LD_PRELOAD libraries: which descriptors belong to a file below one of the watched roots.
 * Paths are made absolute and normalised lexically, so the roots must be real paths (no symbolic links).
 * Not followed: descriptors made by dup() or received from another process, and stdio streams (fopen).
 */
#ifndef HOLDFAST_TRACKED_H
#define HOLDFAST_TRACKED_H
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define FD_MAX 65536

/* The next definition of a function: another preloaded library or libc. */
#define NEXT(name) ((__typeof__(&name))next_symbol(#name))
static void *next_symbol(const char *name) {
  void *symbol = dlsym(RTLD_NEXT, name);
  if (symbol == NULL) abort();
  return symbol;
}

static const char *watched_roots; /* "a:b:c" */

/* "/a/./b//../c" becomes "/a/c". Relative paths start at `dirfd` or the working directory. */
static int resolve_path(int dirfd, const char *path, char out[PATH_MAX]) {
  char joined[2 * PATH_MAX + 2] = "";
  if (path[0] != '/') {
    if (dirfd == AT_FDCWD) {
      if (getcwd(joined, PATH_MAX) == NULL) return -1;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
      ssize_t n = readlink(link, joined, PATH_MAX - 1);
      if (n < 0) return -1;
      joined[n] = 0;
    }
    strcat(joined, "/");
  }
  if (strlen(path) >= PATH_MAX) return -1;
  strcat(joined, path);
  size_t length = 0;
  char *rest = joined, *part;
  while ((part = strsep(&rest, "/")) != NULL) {
    if (part[0] == 0 || strcmp(part, ".") == 0) continue;
    if (strcmp(part, "..") == 0) {
      while (length > 0 && out[--length] != '/') continue;
      continue;
    }
    size_t n = strlen(part);
    if (length + n + 2 > PATH_MAX) return -1;
    out[length++] = '/';
    memcpy(out + length, part, n);
    length += n;
  }
  out[length] = 0;
  return 0;
}

static int below_roots(const char *path) {
  const char *root = watched_roots;
  while (root != NULL && *root != 0) {
    const char *end = strchrnul(root, ':');
    size_t n = (size_t)(end - root);
    if (strncmp(path, root, n) == 0 && (path[n] == 0 || path[n] == '/')) return 1;
    root = *end == ':' ? end + 1 : end;
  }
  return 0;
}

/* Resolves into `out`; true when the path is watched. SQLite's shared-memory file is not: it is mapped, not
 * written, and is rebuilt at recovery. */
static int watched(int dirfd, const char *path, char out[PATH_MAX]) {
  int saved = errno, result = 0;
  if (path != NULL && watched_roots != NULL && resolve_path(dirfd, path, out) == 0 && below_roots(out)) {
    size_t n = strlen(out);
    result = !(n > 4 && strcmp(out + n - 4, "-shm") == 0);
  }
  errno = saved;
  return result;
}

/* open() takes its mode only when it may create. */
#define MODE_ARGUMENT(flags, mode)                          \
  mode_t mode = 0;                                          \
  if ((flags) & (O_CREAT | O_TMPFILE)) {                    \
    va_list arguments;                                      \
    va_start(arguments, flags);                             \
    mode = (mode_t)va_arg(arguments, int);                  \
    va_end(arguments);                                      \
  }

#endif
