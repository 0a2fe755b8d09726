// lossy-link: a bad network between two network namespaces, for kernels without netem.
// Build: cc -O2 -o lossy-link lossy-link.c   Usage: lossy-link NAMESPACE NAMESPACE [--delay-us N] [--loss-ppm N] [--rate-kbit N] [--queue-bytes N] [--seed N]
// Makes a TUN device "sluice0" in each namespace (of `ip netns add`) and carries IP packets between them. Each direction is, in this order:
// a queue of bounded bytes (what does not fit is dropped), a rate, random loss of single packets, a delay. A TUN device without offloads
// gets every packet cut to its MTU and checksummed, so that a packet here is a packet on a wire.
// Prints "ready" when both devices are there; then a line of counters as JSON for every line on standard input; ends with its input.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS 1000000000ull
#define PACKET_BYTES_MAX 2048
// Of each direction: more than any queue and delay here can hold.
#define SLOTS 65536

typedef struct {
  uint64_t due_ns;
  uint16_t bytes;
  uint8_t data[PACKET_BYTES_MAX];
} packet;

typedef struct {
  int from, to;
  uint64_t random;
  uint64_t sent_until_ns;  // when the last packet has left at the given rate
  packet *ring;
  unsigned head, count;
  uint64_t packets, bytes, lost, overflowed;
} direction;

static uint64_t delay_ns = 25000000, loss_ppm = 20000, rate_kbit = 50000, queue_bytes = 312500, seed = 1;

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * NANOSECONDS + t.tv_nsec;
}

static void fail(const char *what) {
  fprintf(stderr, "lossy-link: %s: %s\n", what, strerror(errno));
  exit(2);
}

// splitmix64
static uint64_t next_random(uint64_t *state) {
  uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// A device belongs to the namespace in which its file was opened.
static int open_device(const char *namespace) {
  char path[256];
  snprintf(path, sizeof path, "/var/run/netns/%s", namespace);
  int handle = open(path, O_RDONLY | O_CLOEXEC);
  if (handle < 0) fail(path);
  if (setns(handle, CLONE_NEWNET) < 0) fail("setns");
  close(handle);
  int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (device < 0) fail("/dev/net/tun");
  struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
  strcpy(request.ifr_name, "sluice0");
  if (ioctl(device, TUNSETIFF, &request) < 0) fail("TUNSETIFF");
  return device;
}

static void take(direction *d) {
  uint8_t data[PACKET_BYTES_MAX];
  for (;;) {
    ssize_t bytes = read(d->from, data, sizeof data);
    if (bytes <= 0) return;
    uint64_t now = now_ns();
    d->packets++;
    d->bytes += bytes;
    uint64_t start = d->sent_until_ns > now ? d->sent_until_ns : now;
    uint64_t waiting_bytes = (start - now) * rate_kbit / 8 / 1000000;
    if (waiting_bytes + bytes > queue_bytes || d->count == SLOTS) {
      d->overflowed++;
      continue;
    }
    d->sent_until_ns = start + (uint64_t)bytes * 8 * 1000000 / rate_kbit;
    if (next_random(&d->random) % 1000000 < loss_ppm) {
      d->lost++;
      continue;
    }
    packet *p = &d->ring[(d->head + d->count++) % SLOTS];
    p->due_ns = d->sent_until_ns + delay_ns;
    p->bytes = bytes;
    memcpy(p->data, data, bytes);
  }
}

static void deliver(direction *d) {
  uint64_t now = now_ns();
  while (d->count > 0 && d->ring[d->head].due_ns <= now) {
    packet *p = &d->ring[d->head];
    if (write(d->to, p->data, p->bytes) < 0 && errno != EAGAIN && errno != EIO) fail("write");
    d->head = (d->head + 1) % SLOTS;
    d->count--;
  }
}

static void tell(const direction *d) {
  printf("[");
  for (int i = 0; i < 2; i++)
    printf("%s{\"packets\":%lu,\"bytes\":%lu,\"lost\":%lu,\"overflowed\":%lu}", i ? "," : "", d[i].packets, d[i].bytes, d[i].lost, d[i].overflowed);
  printf("]\n");
  fflush(stdout);
}

static void read_options(int argc, char **argv) {
  for (int i = 3; i + 1 < argc; i += 2) {
    uint64_t value = strtoull(argv[i + 1], 0, 10);
    if (!strcmp(argv[i], "--delay-us")) delay_ns = value * 1000;
    else if (!strcmp(argv[i], "--loss-ppm")) loss_ppm = value;
    else if (!strcmp(argv[i], "--rate-kbit")) rate_kbit = value;
    else if (!strcmp(argv[i], "--queue-bytes")) queue_bytes = value;
    else if (!strcmp(argv[i], "--seed")) seed = value;
    else {
      fprintf(stderr, "lossy-link: there is no option %s\n", argv[i]);
      exit(2);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: lossy-link NAMESPACE NAMESPACE [--delay-us N] [--loss-ppm N] [--rate-kbit N] [--queue-bytes N] [--seed N]\n");
    return 2;
  }
  read_options(argc, argv);
  int ends[2] = {open_device(argv[1]), open_device(argv[2])};
  direction d[2] = {{0}};
  for (int i = 0; i < 2; i++) {
    d[i].from = ends[i];
    d[i].to = ends[1 - i];
    d[i].random = seed * 2 + i;
    d[i].ring = malloc(sizeof(packet) * SLOTS);
    if (d[i].ring == NULL) fail("malloc");
  }
  // Sleeps end on time, not up to 50 us later.
  prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  // Before brokers and clients, where that is allowed: a link does not wait for a processor.
  struct sched_param first = {.sched_priority = 1};
  sched_setscheduler(0, SCHED_FIFO, &first);
  printf("ready\n");
  fflush(stdout);
  for (;;) {
    uint64_t due = UINT64_MAX, now = now_ns();
    for (int i = 0; i < 2; i++)
      if (d[i].count > 0 && d[i].ring[d[i].head].due_ns < due) due = d[i].ring[d[i].head].due_ns;
    uint64_t wait = due == UINT64_MAX ? NANOSECONDS : due > now ? due - now : 0;
    struct timespec timeout = {wait / NANOSECONDS, wait % NANOSECONDS};
    struct pollfd files[3] = {{ends[0], POLLIN, 0}, {ends[1], POLLIN, 0}, {0, POLLIN, 0}};
    if (ppoll(files, 3, &timeout, NULL) < 0 && errno != EINTR) fail("poll");
    for (int i = 0; i < 2; i++) {
      if (files[i].revents & POLLIN) take(&d[i]);
      deliver(&d[i]);
    }
    if (files[2].revents) {
      char line[64];
      if (read(0, line, sizeof line) <= 0) return 0;
      tell(d);
    }
  }
}
