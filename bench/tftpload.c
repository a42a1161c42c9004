/* A boot storm: reads one file by TFTP many times, so many at once, each client from an address of its own (127.1.0.1 and on), and checks every byte.
 *
 * tftpload HOST PORT NAME CONTENT AT_ONCE TOTAL BLKSIZE WINDOWSIZE SECONDS
 * prints: complete failed repeated seconds (repeated: requests and acknowledgements sent again after a second of silence)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST = 1, DATA = 3, ACK = 4, ERROR = 5, OACK = 6, TRIES = 10 };

struct client {
    int fd, known, in_window, block, window, tries, length;
    long next; /* the number of the block that is expected, from 1 */
    double sent_at;
    struct sockaddr_in peer;
    unsigned char last[600];
};

static struct sockaddr_in server;
static const char *name;
static unsigned char *content;
static long size, started, complete, failed, repeated;
static int poller, block_asked, window_asked;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void send_last(struct client *c) {
    sendto(c->fd, c->last, c->length, 0, (struct sockaddr *)(c->known ? &c->peer : &server), sizeof server);
    c->sent_at = now();
}

static void acknowledge(struct client *c, long number) {
    unsigned char packet[] = {0, ACK, number >> 8 & 255, number & 255};
    memcpy(c->last, packet, c->length = 4);
    c->in_window = 0;
    send_last(c);
}

static void field(struct client *c, const char *text) { c->length += sprintf((char *)c->last + c->length, "%s", text) + 1; }

static void option(struct client *c, const char *key, int value) {
    char text[12];
    sprintf(text, "%d", value);
    field(c, key);
    field(c, text);
}

static void begin(struct client *c, int place) {
    struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010001 + place)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int queue = 1 << 18;
    memset(c, 0, sizeof *c);
    c->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0 || bind(c->fd, (struct sockaddr *)&own, sizeof own)) perror("tftpload: socket"), exit(2);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &queue, sizeof queue);
    c->next = c->window = 1;
    c->block = 512;
    c->last[1] = REQUEST;
    c->length = 2;
    field(c, name);
    field(c, "octet");
    if (block_asked != 512) option(c, "blksize", block_asked);
    if (window_asked > 1) option(c, "windowsize", window_asked);
    epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event);
    started++;
    send_last(c);
}

static void end(struct client *c, int good) {
    *(good ? &complete : &failed) += 1;
    close(c->fd);
    c->fd = -1;
}

static void agree(struct client *c, char *packet, int length) {
    for (char *key = packet + 2, *last = packet + length; key < last;) {
        char *value = key + strlen(key) + 1;
        if (!strcasecmp(key, "blksize")) c->block = atoi(value);
        if (!strcasecmp(key, "windowsize")) c->window = atoi(value);
        key = value + strlen(value) + 1;
    }
    acknowledge(c, 0);
}

static void block(struct client *c, unsigned char *packet, int length, int number) {
    long at = (c->next - 1) * c->block;
    if (number != (c->next & 0xffff)) {
        if (c->in_window) acknowledge(c, c->next - 1);
        return;
    }
    if (at + length > size || memcmp(content + at, packet + 4, length)) {
        fprintf(stderr, "tftpload: wrong content in block %ld\n", c->next);
        end(c, 0);
        return;
    }
    c->next++;
    c->in_window++;
    if (length < c->block) {
        acknowledge(c, number);
        end(c, at + length == size);
    } else if (c->in_window >= c->window) {
        acknowledge(c, number);
    }
}

static void hear(struct client *c) {
    static unsigned char packet[70000];
    struct sockaddr_in from;
    socklen_t size_of = sizeof from;
    int length;
    while (c->fd >= 0 && (length = recvfrom(c->fd, packet, sizeof packet - 1, 0, (struct sockaddr *)&from, &size_of)) >= 4) {
        packet[length] = 0;
        if (c->known && from.sin_port != c->peer.sin_port) continue;
        c->peer = from;
        c->known = 1;
        c->tries = 0;
        if (packet[1] == OACK && c->next == 1) agree(c, (char *)packet, length);
        if (packet[1] == DATA) block(c, packet, length - 4, packet[2] << 8 | packet[3]);
        if (packet[1] == ERROR) fprintf(stderr, "tftpload: %s\n", packet + 4), end(c, 0);
    }
}

int main(int count, char **given) {
    if (count != 10) return fprintf(stderr, "usage: HOST PORT NAME CONTENT AT_ONCE TOTAL BLKSIZE WINDOWSIZE SECONDS\n"), 2;
    int at_once = atoi(given[5]), file = open(given[4], O_RDONLY);
    long total = atol(given[6]);
    double limit = atof(given[9]), began = now(), looked = began;
    struct client *clients = calloc(at_once, sizeof *clients);
    struct epoll_event events[256];
    struct stat status;
    if (file < 0 || fstat(file, &status)) return perror(given[4]), 2;
    size = status.st_size;
    content = malloc(size + 1);
    if (read(file, content, size) != size) return perror(given[4]), 2;
    server.sin_family = AF_INET;
    inet_aton(given[1], &server.sin_addr);
    server.sin_port = htons(atoi(given[2]));
    name = given[3];
    block_asked = atoi(given[7]);
    window_asked = atoi(given[8]);
    poller = epoll_create1(0);
    for (int i = 0; i < at_once; i++) clients[i].fd = -1;
    for (int i = 0; i < at_once && started < total; i++) begin(&clients[i], i);
    while (complete + failed < total && now() - began < limit) {
        int found = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < found; i++) {
            struct client *c = events[i].data.ptr;
            hear(c);
            if (c->fd < 0 && started < total) begin(c, c - clients);
        }
        if (now() - looked < 0.2) continue;
        looked = now();
        for (int i = 0; i < at_once; i++) {
            struct client *c = &clients[i];
            if (c->fd < 0 || looked - c->sent_at <= 1) continue;
            repeated++;
            if (++c->tries <= TRIES) send_last(c);
            else end(c, 0);
            if (c->fd < 0 && started < total) begin(c, i);
        }
    }
    printf("%ld %ld %ld %.4f\n", complete, total - complete, repeated, now() - began);
    return 0;
}
