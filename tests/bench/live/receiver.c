/* A crowd of watchers: opens many WebSockets, reads all that comes, and tells how much and how old it was.
 *
 *   receiver PORT PATH COUNT SECONDS SUBSCRIBE
 *
 * SUBSCRIBE is a text message that each connection sends once it is open; "-" for none. The reports carry the moment
 * at which they were written, in nanoseconds of CLOCK_MONOTONIC, as the JSON member "message":"…". "ready" is printed
 * when every connection has been given a first frame; the measurement begins when a line is read from stdin, lasts for
 * SECONDS, and ends in one line of JSON. Connections are read while others are being opened.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BUFFER 65536
#define BUCKETS 200000 /* of 1 ms */

struct peer {
  int fd, open, greeted;
  size_t used;
  char *data;
};

static struct peer *peers;
static int count, opened, greeted, lost, measuring;
static uint64_t frames, bytes, aged, ages[BUCKETS];

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static void die(const char *what) {
  perror(what);
  exit(1);
}

static void take(struct peer *peer, const char *payload, size_t length) {
  if (!peer->greeted) {
    peer->greeted = 1;
    greeted++;
  }
  if (!measuring) return;
  frames++;
  bytes += length;
  const char *mark = memmem(payload, length, "\"message\":\"", 11);
  if (!mark) return;
  uint64_t written = strtoull(mark + 11, NULL, 10);
  if (!written) return;
  uint64_t ms = (now_ns() - written) / 1000000ull;
  ages[ms < BUCKETS ? ms : BUCKETS - 1]++;
  aged++;
}

/* Take all whole frames from what was read. A server's frames are not masked. */
static void frames_of(struct peer *peer) {
  size_t at = 0;
  while (peer->used - at >= 2) {
    const unsigned char *head = (unsigned char *)peer->data + at;
    uint64_t length = head[1] & 127;
    size_t header = 2;
    if (length == 126) header = 4;
    if (length == 127) header = 10;
    if (peer->used - at < header) break;
    if (length == 126) length = (uint64_t)head[2] << 8 | head[3];
    if (length == 127) {
      length = 0;
      for (int i = 2; i < 10; i++) length = length << 8 | head[i];
    }
    if (header + length > BUFFER) die("a frame larger than the buffer");
    if (peer->used - at < header + length) break;
    int opcode = head[0] & 15;
    if (opcode == 1 || opcode == 2) take(peer, peer->data + at + header, length);
    if (opcode == 9) { /* a ping is answered, or the server closes */
      unsigned char pong[6 + 125] = {0x8a, (unsigned char)(0x80 | length), 0, 0, 0, 0};
      memcpy(pong + 6, peer->data + at + header, length);
      if (write(peer->fd, pong, 6 + length) < 0) lost++;
    }
    at += header + length;
  }
  memmove(peer->data, peer->data + at, peer->used - at);
  peer->used -= at;
}

static void greet(struct peer *peer, const char *subscribe) {
  char *end = memmem(peer->data, peer->used, "\r\n\r\n", 4);
  if (!end) return;
  if (memcmp(peer->data, "HTTP/1.1 101", 12)) die(strndup(peer->data, 40));
  size_t rest = peer->used - (size_t)(end + 4 - peer->data);
  memmove(peer->data, end + 4, rest);
  peer->used = rest;
  peer->open = 1;
  opened++;
  size_t length = strlen(subscribe);
  if (strcmp(subscribe, "-") && length < 126) {
    unsigned char frame[6 + 125] = {0x81, (unsigned char)(0x80 | length), 0, 0, 0, 0};
    memcpy(frame + 6, subscribe, length); /* masked with zeros */
    if (write(peer->fd, frame, 6 + length) < 0) die("write");
  }
  frames_of(peer);
}

static void readable(struct peer *peer, const char *subscribe) {
  for (;;) {
    ssize_t got = read(peer->fd, peer->data + peer->used, BUFFER - peer->used);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) {
      close(peer->fd);
      lost++;
      return;
    }
    peer->used += (size_t)got;
    if (peer->open) frames_of(peer);
    else greet(peer, subscribe);
    if (peer->used < BUFFER / 2) return;
  }
}

static void open_one(int epoll, struct peer *peer, int port, const char *path) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  peer->fd = socket(AF_INET, SOCK_STREAM, 0);
  if (peer->fd < 0) die("socket");
  if (connect(peer->fd, (struct sockaddr *)&to, sizeof to)) die("connect");
  char request[1024];
  int length = snprintf(request, sizeof request,
                        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
                        path, port);
  if (write(peer->fd, request, (size_t)length) != length) die("write");
  fcntl(peer->fd, F_SETFL, O_NONBLOCK);
  peer->data = malloc(BUFFER);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
  epoll_ctl(epoll, EPOLL_CTL_ADD, peer->fd, &event);
}

static uint64_t quantile(double share) {
  uint64_t seen = 0;
  for (int ms = 0; ms < BUCKETS; ms++)
    if ((seen += ages[ms]) >= share * (double)aged) return (uint64_t)ms;
  return BUCKETS;
}

int main(int argc, char **argv) {
  if (argc != 6) return fprintf(stderr, "receiver PORT PATH COUNT SECONDS SUBSCRIBE\n"), 2;
  int port = atoi(argv[1]);
  count = atoi(argv[3]);
  double seconds = atof(argv[4]);
  struct rlimit files = {(rlim_t)count + 100, (rlim_t)count + 100};
  setrlimit(RLIMIT_NOFILE, &files);
  peers = calloc((size_t)count, sizeof *peers);
  int epoll = epoll_create1(0), started = 0, told = 0;
  struct epoll_event events[512], from_stdin = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &from_stdin);
  uint64_t end = UINT64_MAX;
  while (now_ns() < end) {
    /* A few at a time: a listening socket has a short queue. */
    while (started < count && started - opened < 50) open_one(epoll, &peers[started++], port, argv[2]);
    if (!told && greeted + lost >= count) {
      told = 1;
      printf("ready\n");
      fflush(stdout);
    }
    /* What comes within a millisecond is read together: to wake a reader for every frame would cost the sender more than
     * to send it, and readers elsewhere cost it nothing. */
    if (measuring) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    int ready = epoll_wait(epoll, events, 512, 100);
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr) readable(events[i].data.ptr, argv[5]);
      else {
        char line[16];
        if (read(0, line, sizeof line) <= 0) return 0;
        measuring = 1;
        end = now_ns() + (uint64_t)(seconds * 1e9);
      }
    }
  }
  printf("{\"frames\": %lu, \"bytes\": %lu, \"lost\": %d, \"p50_ms\": %lu, \"p99_ms\": %lu, \"max_ms\": %lu}\n", frames,
         bytes, lost, aged ? quantile(0.5) : 0, aged ? quantile(0.99) : 0, aged ? quantile(1.0) : 0);
  return 0;
}
