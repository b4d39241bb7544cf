/* A clock that another process sets, by the file $POINTSMAN_CLOCK. Preloaded; see mod.rs.
   For a process under a profiler, which is a hundred times slower than it would be by itself:
   what happens "at most every 10 ms" would happen with each request. And for a process whose
   clock steps: its real time is ahead of the machine's, or behind. Waits of threads are left
   alone: they go by the kernel's clocks. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* What the other side writes. */
struct shared {
  volatile uint64_t nanoseconds; /* since the start */
  volatile uint64_t held;        /* 1: time passes with requests only */
  volatile uint64_t steps;       /* 1: none of these; time is the machine's, */
  volatile int64_t ahead;        /* and real time so many nanoseconds ahead of it */
};

static struct shared *shared;
static struct timespec base[2]; /* real time and monotonic time at the start */

static void start(void) {
  const char *path = getenv("POINTSMAN_CLOCK");
  int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *memory = mmap(NULL, sizeof(struct shared), PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (memory == MAP_FAILED) return;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &base[0]);
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &base[1]);
  shared = memory;
}

/* Before any thread. */
__attribute__((constructor)) static void constructor(void) { start(); }

int clock_gettime(clockid_t id, struct timespec *time) {
  int of;
  switch (id) {
  case CLOCK_REALTIME:
  case CLOCK_REALTIME_COARSE: of = 0; break;
  case CLOCK_MONOTONIC:
  case CLOCK_MONOTONIC_COARSE:
  case CLOCK_MONOTONIC_RAW:
  case CLOCK_BOOTTIME: of = 1; break;
  default: return (int)syscall(SYS_clock_gettime, id, time);
  }
  if (!shared) return (int)syscall(SYS_clock_gettime, id, time);
  if (shared->steps) {
    int failed = (int)syscall(SYS_clock_gettime, id, time);
    if (failed || of) return failed;
    int64_t now = time->tv_sec * 1000000000ll + time->tv_nsec + shared->ahead;
    time->tv_sec = now / 1000000000;
    time->tv_nsec = now % 1000000000;
    return 0;
  }
  uint64_t nanoseconds = base[of].tv_nsec + shared->nanoseconds;
  time->tv_sec = base[of].tv_sec + (time_t)(nanoseconds / 1000000000);
  time->tv_nsec = (long)(nanoseconds % 1000000000);
  return 0;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  time->tv_sec = now.tv_sec;
  time->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *to) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (to) *to = now.tv_sec;
  return now.tv_sec;
}

/* While time stands still nothing becomes due, so that a wait for it would be in vain, again and
   again, and would be counted. */
int epoll_wait(int queue, struct epoll_event *events, int most, int timeout) {
  if (shared && shared->held && timeout > 0) timeout = -1;
  return (int)syscall(SYS_epoll_wait, queue, events, most, timeout);
}
