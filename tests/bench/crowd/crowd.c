/* A crowd of open pages of one dataset, which do what the pages' script does (static/js/link.js, header.js).
 *
 *   crowd PORT DATASET MOST
 *
 * A page has a WebSocket, asks for its header every 3 s (a real page only where no frame has brought one meanwhile), and
 * one in ten is hidden now and then: then it has neither. A page whose socket is lost polls its panel, and comes back within the time that the server takes for all of them. Every
 * report has "written:NANOSECONDS;" of CLOCK_MONOTONIC as its message, so that a page knows the age of what it shows.
 *
 * Commands, a line each on stdin; each is answered with a line on stdout:
 *   open COUNT RATE    open so many more pages, RATE a second, each of which loads the whole page first where RATE is
 *                      not 0; answered when all of them show something
 *   measure SECONDS    answered with what the pages saw in that time
 *   storm              answered when every page that is not hidden has shown something new since now
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

#define BUCKETS 60000 /* of 1 ms */
#define LARGEST 262144
#define POLL_MS 3000.0
#define BAR_MS 2000.0
#define ATTEMPTS 5
#define SOCKET_MS 6.0
#define POLL_COST_MS 1.0
#define FAILED_MS 30000.0

enum { NONE, OPENING, OPEN };
enum { HEADER, BAR, PAGE };

struct line {
  int fd, is_socket;
  struct page *page;
  size_t used, room;
  char *data;
};

struct page {
  struct line socket, http;
  int is_open, is_hidden, is_greeted, is_back, state, failures, asked, busy, header_failures, bar_failures;
  double retry_at, header_at, bar_at, asked_at, toggle_at, fresh_at;
  char query[160];
};

struct histogram {
  uint64_t count, at[BUCKETS];
};

static struct page *pages;
static int most, count, port, epoll, sockets;
static const char *dataset;
static double began, storm_at = -1, measured_at, spent_ms;
static int measuring;
static struct histogram polls, ages, loads;
static uint64_t failed, frames;

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double processor_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double chance(void) { return (double)random() / ((double)RAND_MAX + 1); }

static void note(struct histogram *one, double ms) {
  one->at[ms < 0 ? 0 : ms < BUCKETS ? (int)ms : BUCKETS - 1]++;
  one->count++;
}

static int quantile(struct histogram *one, double share) {
  uint64_t seen = 0;
  if (!one->count) return 0;
  for (int ms = 0; ms < BUCKETS; ms++)
    if ((double)(seen += one->at[ms]) >= share * (double)one->count) return ms;
  return BUCKETS;
}

static void drop(struct line *line) {
  if (line->fd >= 0) close(line->fd);
  line->fd = -1;
  line->used = 0;
}

static int reach(struct line *line) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  line->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (line->fd < 0) return perror("socket"), exit(1), 0;
  if (connect(line->fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) return drop(line), 0;
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = line};
  epoll_ctl(epoll, EPOLL_CTL_ADD, line->fd, &event);
  return 1;
}

static int say(struct line *line, const char *text, size_t length) {
  return send(line->fd, text, length, MSG_NOSIGNAL) == (ssize_t)length;
}

static void expect_writable(struct line *line, int wanted) {
  struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = line};
  epoll_ctl(epoll, EPOLL_CTL_MOD, line->fd, &event);
}

static void socket_lost(struct page *page) {
  double now = now_ms(), crowd = sockets * SOCKET_MS;
  if (page->state == OPEN) page->bar_at = now + BAR_MS * (1 + chance()) / 2;
  drop(&page->socket);
  page->state = NONE;
  page->failures++;
  double wait = 500.0 * (1 << page->failures), again = crowd / 4 * (1 + chance()) / 2;
  if (page->failures >= ATTEMPTS) wait = 30000 * (0.8 + 0.2 * chance());
  else if (page->failures == 1) wait = chance() * (crowd > wait ? crowd : wait);
  else if ((wait *= chance()) < again) wait = again;
  page->retry_at = now + wait;
  double first = chance() * crowd;
  if (page->failures == 1 && page->bar_at < now + first) page->bar_at = now + first;
}

static void open_socket(struct page *page) {
  page->state = OPENING;
  page->retry_at = now_ms() + 6000; /* a socket that says nothing for so long is lost */
  if (!reach(&page->socket)) return socket_lost(page);
  expect_writable(&page->socket, 1);
}

static void ask(struct page *page, int what) {
  page->asked = what;
  page->busy = 1;
  page->asked_at = now_ms();
  if (page->http.fd < 0 && !reach(&page->http)) {
    page->busy = 0;
    if (measuring && what == HEADER) failed++, note(&polls, FAILED_MS);
    return;
  }
  expect_writable(&page->http, 1);
}

static void writable(struct line *line) {
  struct page *page = line->page;
  char request[1024];
  int length;
  if (line->is_socket)
    length = snprintf(request, sizeof request,
                      "GET /datasets/%s/progress/live/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\n"
                      "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                      "Sec-WebSocket-Version: 13\r\n\r\n", dataset, port);
  else {
    const char *path = page->asked == HEADER ? "progress/header/" : page->asked == BAR ? "progress/bar/" : "";
    length = snprintf(request, sizeof request, "GET /datasets/%s/%s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", dataset,
                      path, page->query[0] && page->asked != PAGE ? "?" : "", page->asked == PAGE ? "" : page->query, port,
                      page->asked == PAGE ? "" : "HX-Request: true\r\n");
  }
  expect_writable(line, 0);
  if (!say(line, request, (size_t)length)) line->is_socket ? socket_lost(page) : (drop(line), page->busy = 0);
}

/* Keep what the header's next request says of what is shown. */
static void note_query(struct page *page, const char *body, size_t length) {
  const char *mark = memmem(body, length, "/progress/header/?", 18);
  if (!mark) return;
  size_t at = 0;
  for (mark += 18; *mark != '"' && at + 1 < sizeof page->query; mark++) {
    page->query[at++] = *mark;
    if (!strncmp(mark, "&amp;", 5)) mark += 4;
  }
  page->query[at] = 0;
}

static void show(struct page *page) {
  page->fresh_at = now_ms();
  page->is_greeted = 1;
}

static void frame(struct page *page, const char *text, size_t length) {
  const char *mark = memmem(text, length, "<!-- sockets ", 13);
  if (mark) sockets = atoi(mark + 13);
  if (length < 100) return; /* a keepalive */
  page->failures = 0;
  note_query(page, text, length);
  show(page);
  if (!measuring) return;
  frames++;
  mark = memmem(text, length, "written:", 8);
  if (mark) note(&ages, now_ms() - (double)strtoull(mark + 8, NULL, 10) / 1e6);
}

static int take_frames(struct page *page) {
  struct line *line = &page->socket;
  size_t at = 0;
  while (line->used - at >= 2) {
    const unsigned char *head = (unsigned char *)line->data + at;
    uint64_t length = head[1] & 127;
    size_t size = length == 126 ? 4 : length == 127 ? 10 : 2;
    if (line->used - at < size) break;
    if (size > 2) {
      length = 0;
      for (size_t i = 2; i < size; i++) length = length << 8 | head[i];
    }
    if (line->used - at < size + length) break;
    int opcode = head[0] & 15;
    if (opcode == 8) return 0;
    if (opcode == 1) frame(page, line->data + at + size, length);
    if (opcode == 9) {
      unsigned char pong[131] = {0x8a, (unsigned char)(0x80 | length)};
      memcpy(pong + 6, line->data + at + size, length);
      say(line, (char *)pong, 6 + length);
    }
    at += size + length;
  }
  memmove(line->data, line->data + at, line->used - at);
  line->used -= at;
  return 1;
}

static int greet(struct page *page) {
  struct line *line = &page->socket;
  char *end = memmem(line->data, line->used, "\r\n\r\n", 4);
  if (!end) return 1;
  if (memcmp(line->data, "HTTP/1.1 101", 12)) return 0;
  page->state = OPEN;
  page->retry_at = 0;
  line->used -= (size_t)(end + 4 - line->data);
  memmove(line->data, end + 4, line->used);
  return take_frames(page);
}

static void answered(struct page *page, int status, const char *body, size_t length) {
  double took = now_ms() - page->asked_at;
  int is_good = status == 200 || status == 204;
  page->busy = 0;
  if (is_good && length) note_query(page, body, length);
  if (page->asked == PAGE) {
    page->header_at = now_ms() + POLL_MS; /* after which a page that was refused is loaded again */
    if (is_good) page->is_open = 1, open_socket(page);
    note(&loads, is_good ? took : FAILED_MS);
  } else if (page->asked == HEADER) {
    page->header_failures = is_good ? 0 : page->header_failures + 1;
    if (!is_good) page->header_at = now_ms() + 3000.0 * (1 << (page->header_failures < 3 ? page->header_failures : 3));
    if (measuring) failed += !is_good, note(&polls, is_good ? took : FAILED_MS);
  } else if (!is_good) page->bar_failures++;
  else {
    double crowd = sockets * SOCKET_MS;
    if (page->bar_failures && page->failures >= ATTEMPTS && page->state == NONE) /* the server is back */
      page->retry_at = now_ms() + chance() * (crowd > 6000 ? crowd : 6000);
    page->bar_failures = 0;
    show(page);
  }
}

static int take_answer(struct page *page) {
  struct line *line = &page->http;
  char *end = memmem(line->data, line->used, "\r\n\r\n", 4);
  if (!end) return 1;
  int status = atoi(line->data + 9);
  size_t head = (size_t)(end + 4 - line->data), length = 0;
  *end = 0;
  char *field = strcasestr(line->data, "\r\ncontent-length:");
  int is_last = strcasestr(line->data, "\r\nconnection: close") != NULL;
  if (field && status != 204) length = (size_t)atol(field + 17);
  *end = '\r';
  if (line->used < head + length) return 1;
  answered(page, status, line->data + head, length);
  line->used = 0;
  return !is_last;
}

static void readable(struct line *line) {
  struct page *page = line->page;
  for (;;) {
    if (line->room - line->used < 16384) line->data = realloc(line->data, line->room += 32768);
    ssize_t got = read(line->fd, line->data + line->used, line->room - line->used - 1);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    int is_well = got > 0 && line->used < LARGEST;
    if (is_well) {
      line->used += (size_t)got;
      line->data[line->used] = 0;
      is_well = !line->is_socket ? take_answer(page) : page->state == OPEN ? take_frames(page) : greet(page);
    }
    if (is_well) {
      if (line->room - line->used > 16384) return;
      continue;
    }
    if (line->is_socket) return socket_lost(page);
    if (page->busy && got <= 0) answered(page, 0, "", 0);
    return drop(line);
  }
}

static void rest(struct page *page, double now) {
  page->is_hidden = !page->is_hidden;
  page->toggle_at = now + 5000 + 10000 * chance();
  if (page->is_hidden) {
    drop(&page->socket), drop(&page->http);
    page->state = NONE;
    page->busy = page->failures = 0;
  } else {
    page->header_at = page->bar_at = now;
    open_socket(page);
  }
}

static void tick(struct page *page, double now) {
  if (page->toggle_at && now >= page->toggle_at) rest(page, now);
  if (page->is_hidden) return;
  if (page->busy && now - page->asked_at > 15000) answered(page, 0, "", 0), drop(&page->http);
  if (!page->is_open) {
    if (!page->busy && now >= page->header_at) ask(page, PAGE);
    return;
  }
  if (page->retry_at && now >= page->retry_at) {
    if (page->state == OPENING) socket_lost(page);
    else if (page->state == NONE) open_socket(page);
  }
  if (page->busy) return;
  if (now >= page->header_at) page->header_at = now + POLL_MS, ask(page, HEADER);
  else if (page->state != OPEN && page->bar_at && now >= page->bar_at) {
    double wait = page->failures < ATTEMPTS ? sockets * POLL_COST_MS : 0;
    page->bar_at = now + (wait > BAR_MS ? wait : BAR_MS) * (0.8 + 0.2 * chance());
    ask(page, BAR);
  }
}

static void add_page(double now, int loads_page) {
  struct page *page = &pages[count];
  page->socket.fd = page->http.fd = -1;
  page->socket.is_socket = 1;
  page->socket.page = page->http.page = page;
  if (count % 10 == 9) page->toggle_at = now + 5000 + 10000 * chance();
  count++;
  if (loads_page) return ask(page, PAGE);
  page->is_open = 1;
  page->header_at = now + POLL_MS * chance();
  open_socket(page);
}

static void print_measured(void) {
  int live = 0;
  for (int i = 0; i < count; i++) live += pages[i].state == OPEN;
  printf("{\"polls\": %lu, \"failed\": %lu, \"header_p50\": %d, \"header_p99\": %d, \"frames\": %lu, \"age_p50\": %d, "
         "\"age_p99\": %d, \"live\": %d, \"sockets\": %d, \"crowd_load\": %.2f}\n",
         polls.count, failed, quantile(&polls, 0.5), quantile(&polls, 0.99), frames, quantile(&ages, 0.5),
         quantile(&ages, 0.99), live, sockets, (processor_ms() - spent_ms) / (now_ms() - measured_at));
}

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "crowd PORT DATASET MOST\n"), 2;
  port = atoi(argv[1]), dataset = argv[2], most = atoi(argv[3]);
  struct rlimit files = {2 * (rlim_t)most + 100, 2 * (rlim_t)most + 100};
  if (setrlimit(RLIMIT_NOFILE, &files)) perror("setrlimit");
  pages = calloc((size_t)most, sizeof *pages);
  epoll = epoll_create1(0);
  struct epoll_event events[512], from_stdin = {.events = EPOLLIN, .data.ptr = NULL};
  epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &from_stdin);
  fcntl(0, F_SETFL, O_NONBLOCK);
  double ends = 0, opened_at = 0, rate = 0;
  int first = 0, wanted = 0, opening = 0;
  for (;;) {
    double now = now_ms();
    while (count < wanted && (rate ? count - first < (now - opened_at) * rate / 1e3 : 1)) {
      int waiting = 0;
      if (!rate)
        for (int i = first; i < count; i++) waiting += !pages[i].is_greeted;
      if (waiting > 40) break;
      add_page(now, rate > 0);
    }
    int unserved = 0, stale = 0;
    for (int i = 0; i < count; i++) {
      tick(&pages[i], now);
      unserved += i >= first && !pages[i].is_greeted;
      pages[i].is_back |= pages[i].state == OPEN && pages[i].fresh_at >= storm_at;
      stale += !pages[i].is_hidden && pages[i].is_open && !pages[i].is_back;
    }
    if (opening && count == wanted && !unserved) {
      opening = 0;
      printf("{\"opened_s\": %.1f, \"load_p50\": %d, \"load_p99\": %d}\n", (now - began) / 1e3, quantile(&loads, 0.5),
             quantile(&loads, 0.99));
    }
    if (ends && now >= ends) ends = measuring = 0, print_measured();
    if (storm_at >= 0 && !stale) printf("{\"storm_s\": %.1f}\n", (now - storm_at) / 1e3), storm_at = -1;
    fflush(stdout);
    int ready = epoll_wait(epoll, events, 512, 2);
    for (int i = 0; i < ready; i++) {
      struct line *line = events[i].data.ptr;
      if (line && line->fd >= 0) {
        if (events[i].events & EPOLLOUT && !(events[i].events & (EPOLLERR | EPOLLHUP))) writable(line);
        if (line->fd >= 0 && events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) readable(line);
      } else if (!line) {
        char text[64] = "";
        if (read(0, text, sizeof text - 1) <= 0) return 0;
        if (sscanf(text, "open %d %lf", &wanted, &rate) == 2) {
          first = count, wanted += count, opening = 1, began = opened_at = now_ms();
          memset(&loads, 0, sizeof loads);
          if (wanted > most) wanted = most;
        } else if (!strncmp(text, "storm", 5)) {
          storm_at = now_ms();
          for (int i = 0; i < count; i++) pages[i].is_back = 0;
        }
        else {
          memset(&polls, 0, sizeof polls), memset(&ages, 0, sizeof ages);
          failed = frames = 0, measuring = 1, measured_at = now_ms(), spent_ms = processor_ms();
          ends = measured_at + 1e3 * atof(text + 8);
        }
      }
    }
  }
}
