/*
 * Copyright the Blockmirror contributors
 *
 * Licensed under the Apache License, Version 2.0 (the "License"); you may
 * not use this file except in compliance with the License. You may obtain
 * a copy of the License at
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
 * WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
 * License for the specific language governing permissions and limitations
 * under the License.
 */

/*
 * The only program of the lab's guest.  It takes commands on the second serial port, one a line:
 * "ID VERB ARGUMENT...", and answers each with one line of JSON that repeats the ID:
 *
 *   ping                                            whether and how often writers were frozen
 *   size DEV                                        bytes
 *   start DEV TAG WRITERS BLOCKS STRIDE DELAY BASE  start writers on a disk
 *   stop DEV | all                                  ask writers to end; "stat" tells when they did
 *   stat                                            counters of every writer
 *   reset                                           forget latencies and errors, keep the rest
 *   latencies                                       how many writes took how long, of all writers
 *   fill DEV SEED OFFSET LENGTH                     deterministic data, flushed
 *   crc DEV OFFSET LENGTH                           crc32, read past the page cache
 *   poweroff
 *
 * A writer W of a run writes blocks 1, 2, 3 ... (its sequence numbers).  Block S goes to
 *     BASE + ((S * 0x9E3779B1) mod BLOCKS) * STRIDE + W * 4096
 * with BLOCKS a power of two, so that BLOCKS writes in a row touch each of its places once.  A write
 * counts as acknowledged when pwrite (O_DIRECT) and fdatasync have both returned success; one that
 * failed is tried again for ever, with the same data.  oracle.py knows the same rules.
 *
 * On a virtio port it is QEMU's guest agent, as far as libvirt needs one to freeze and thaw file
 * systems: there are none, so the writers are what stands still.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>

enum { BLOCK = 4096, HEADER = 32, CHUNK = 1 << 20, SLOTS = 16, RETRY_US = 50000, BUCKETS = 256 };
#define SPREAD UINT64_C(0x9E3779B1)

struct block {
    char magic[8];
    uint64_t sequence;
    uint32_t writer;
    uint32_t tag;
    uint64_t time_us;
    uint64_t body[(BLOCK - HEADER) / 8];
};
_Static_assert(sizeof(struct block) == BLOCK, "a block is 4 KiB");

struct writer {
    pthread_t thread;
    int used;
    char device[16], path[32];
    uint32_t tag, number;
    uint64_t blocks, stride, delay_us, base;
    atomic_int stop, running;
    atomic_uint_fast64_t acked, issued, errors, last_errno;
    atomic_uint_fast64_t longest_us, longest_at_us, slow_100ms, slow_1s, since_us;
};

static struct writer writers[SLOTS];
static atomic_uint_fast64_t took_us[BUCKETS];
static uint32_t crc_table[256];
/* Held for reading by a write under way, for writing while frozen. */
static pthread_rwlock_t ice = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
static atomic_int frozen, freezes;
static FILE *answers;

static void crc_init(void)
{
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? UINT32_C(0xEDB88320) ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
}

static uint32_t crc32(uint32_t crc, const void *data, size_t length)
{
    const unsigned char *p = data;
    crc = ~crc;
    while (length--)
        crc = crc_table[(crc ^ *p++) & 255] ^ (crc >> 8);
    return ~crc;
}

/* xorshift64 (Marsaglia 2003); the state must not be 0 */
static uint64_t next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return *state = x;
}

static uint64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static void *aligned(size_t size)
{
    void *p = aligned_alloc(BLOCK, size);
    if (!p)
        abort();
    memset(p, 0, size);
    return p;
}

static void compose(const struct writer *w, uint64_t sequence, struct block *b)
{
    uint64_t state = (sequence << 8 | w->number) * UINT64_C(0x9E3779B97F4A7C15) | 1;
    uint32_t crc;

    memcpy(b->magic, "BMLABWR1", 8);
    b->sequence = sequence;
    b->writer = w->number;
    b->tag = w->tag;
    b->time_us = now_us();
    for (size_t i = 0; i < sizeof b->body / 8; i++)
        b->body[i] = next(&state);
    crc = crc32(0, b, BLOCK - 4);
    memcpy((char *)b + BLOCK - 4, &crc, 4);
}

/* 1 when written and flushed, 0 when told to stop while it failed */
static int write_through(struct writer *w, int *fd, const struct block *b, off_t offset)
{
    for (;;) {
        errno = 0;
        if (*fd >= 0 && pwrite(*fd, b, BLOCK, offset) == BLOCK && fdatasync(*fd) == 0)
            return 1;
        w->last_errno = errno ? (uint64_t)errno : EIO;
        w->errors++;
        if (w->stop)
            return 0;
        usleep(RETRY_US);
        if (*fd >= 0)
            close(*fd);
        *fd = open(w->path, O_RDWR | O_DIRECT);
    }
}

/* Eight buckets for each power of two, exact below eight; agent.py knows the same rule. */
static unsigned bucket_of(uint64_t us)
{
    unsigned high = 3, found;

    if (us < 8)
        return (unsigned)us;
    while (us >> (high + 1))
        high++;
    found = (high - 2) * 8 + (unsigned)((us >> (high - 3)) & 7);
    return found < BUCKETS ? found : BUCKETS - 1;
}

static void account(struct writer *w, uint64_t begun)
{
    uint64_t took = now_us() - begun;
    took_us[bucket_of(took)]++;
    if (took > w->longest_us) {
        w->longest_us = took;
        w->longest_at_us = begun;
    }
    if (took >= 100000)
        w->slow_100ms++;
    if (took >= 1000000)
        w->slow_1s++;
}

static void *write_blocks(void *argument)
{
    struct writer *w = argument;
    struct block *b = aligned(BLOCK);
    int fd = open(w->path, O_RDWR | O_DIRECT);

    while (!w->stop) {
        pthread_rwlock_rdlock(&ice);
        uint64_t sequence = w->acked + 1, begun = now_us();
        uint64_t place = (sequence * SPREAD) & (w->blocks - 1);
        compose(w, sequence, b);
        w->issued = sequence;
        w->since_us = begun;
        int written = write_through(w, &fd, b,
                                    (off_t)(w->base + place * w->stride + w->number * BLOCK));
        w->since_us = 0;
        if (written) {
            w->acked = sequence;
            account(w, begun);
        }
        pthread_rwlock_unlock(&ice);
        if (!written)
            break;
        if (w->delay_us)
            usleep((useconds_t)w->delay_us);
    }
    if (fd >= 0)
        close(fd);
    free(b);
    w->running = 0;
    return NULL;
}

static void reply(unsigned long id, const char *rest)
{
    fprintf(answers, "{\"id\":%lu%s%s}\n", id, *rest ? "," : "", rest);
}

static void reply_error(unsigned long id, const char *what, int error)
{
    fprintf(answers, "{\"id\":%lu,\"error\":\"%s\",\"errno\":%d}\n", id, what, error);
}

static int open_disk(const char *device, int flags)
{
    char path[32];
    snprintf(path, sizeof path, "/dev/%.15s", device);
    return open(path, flags);
}

static void reap(const char *device)
{
    for (int i = 0; i < SLOTS; i++) {
        struct writer *w = &writers[i];
        if (w->used && !w->running && !strcmp(w->device, device)) {
            pthread_join(w->thread, NULL);
            w->used = 0;
        }
    }
}

static void do_start(unsigned long id, const char *device, const uint64_t *n)
{
    uint64_t tag = n[0], count = n[1], blocks = n[2], stride = n[3], free_slots = 0;

    reap(device);
    for (int i = 0; i < SLOTS; i++) {
        if (writers[i].used && !strcmp(writers[i].device, device))
            return reply_error(id, "busy", EBUSY);
        free_slots += !writers[i].used;
    }
    if (!count || count > free_slots || !blocks || (blocks & (blocks - 1)) ||
        stride < count * BLOCK)
        return reply_error(id, "arguments", EINVAL);
    for (int i = 0, number = 0; i < SLOTS && number < (int)count; i++) {
        struct writer *w = &writers[i];
        if (w->used)
            continue;
        memset(w, 0, sizeof *w);
        w->used = w->running = 1;
        snprintf(w->device, sizeof w->device, "%.15s", device);
        snprintf(w->path, sizeof w->path, "/dev/%.15s", device);
        w->tag = (uint32_t)tag;
        w->number = (uint32_t)number++;
        w->blocks = blocks;
        w->stride = stride;
        w->delay_us = n[4];
        w->base = n[5];
        if (pthread_create(&w->thread, NULL, write_blocks, w)) {
            w->used = w->running = 0;
            return reply_error(id, "thread", EAGAIN);
        }
    }
    reply(id, "");
}

static void do_stat(unsigned long id)
{
    uint64_t now = now_us();
    const char *comma = "";

    fprintf(answers, "{\"id\":%lu,\"now_us\":%" PRIu64 ",\"writers\":[", id, now);
    for (int i = 0; i < SLOTS; i++) {
        struct writer *w = &writers[i];
        if (!w->used)
            continue;
        /* acked before issued: what is read as acknowledged was issued for certain */
        uint64_t since = w->since_us, acked = w->acked, issued = w->issued;
        fprintf(answers, "%s{\"device\":\"%s\",\"tag\":%" PRIu32 ",\"writer\":%" PRIu32, comma,
                w->device, w->tag, w->number);
        fprintf(answers, ",\"running\":%s,\"acked\":%" PRIu64 ",\"issued\":%" PRIu64,
                w->running ? "true" : "false", acked, issued);
        fprintf(answers, ",\"errors\":%" PRIu64 ",\"last_errno\":%" PRIu64,
                (uint64_t)w->errors, (uint64_t)w->last_errno);
        fprintf(answers, ",\"longest_us\":%" PRIu64 ",\"longest_at_us\":%" PRIu64,
                (uint64_t)w->longest_us, (uint64_t)w->longest_at_us);
        fprintf(answers, ",\"slow_100ms\":%" PRIu64 ",\"slow_1s\":%" PRIu64,
                (uint64_t)w->slow_100ms, (uint64_t)w->slow_1s);
        fprintf(answers, ",\"pending_us\":%" PRIu64 "}", since && now > since ? now - since : 0);
        comma = ",";
    }
    fprintf(answers, "]}\n");
}

static void do_stop(unsigned long id, const char *device)
{
    for (int i = 0; i < SLOTS; i++)
        if (!strcmp(device, "all") || !strcmp(writers[i].device, device))
            writers[i].stop = 1;
    reply(id, "");
}

static void do_reset(unsigned long id)
{
    for (int i = 0; i < SLOTS; i++) {
        struct writer *w = &writers[i];
        w->errors = w->last_errno = 0;
        w->longest_us = w->longest_at_us = w->slow_100ms = w->slow_1s = 0;
    }
    for (int i = 0; i < BUCKETS; i++)
        took_us[i] = 0;
    reply(id, "");
}

static void do_latencies(unsigned long id)
{
    const char *comma = "";

    fprintf(answers, "{\"id\":%lu,\"buckets\":[", id);
    for (int i = 0; i < BUCKETS; i++) {
        uint64_t count = took_us[i];
        if (!count)
            continue;
        fprintf(answers, "%s[%d,%" PRIu64 "]", comma, i, count);
        comma = ",";
    }
    fprintf(answers, "]}\n");
}

/* A block of a fill: its seed and offset, then a page of the seed's noise, turned by its number. */
static void fill_chunk(unsigned char *chunk, const unsigned char *page, uint64_t seed,
                       uint64_t offset, size_t length)
{
    for (size_t at = 0; at < length; at += BLOCK) {
        uint64_t where = offset + at, turn = (where / BLOCK) % BLOCK;
        unsigned char *b = chunk + at;
        memcpy(b, page + turn, BLOCK - turn);
        memcpy(b + BLOCK - turn, page, turn);
        memcpy(b, "BMLABFI1", 8);
        memcpy(b + 8, &seed, 8);
        memcpy(b + 16, &where, 8);
    }
}

static void do_bulk(unsigned long id, int writing, const char *device, const uint64_t *n)
{
    uint64_t seed = writing ? *n++ : 0, offset = n[0], left = n[1], state = seed * SPREAD | 1;
    unsigned char *chunk = aligned(CHUNK), *page = aligned(BLOCK);
    uint32_t crc = 0;
    int fd = open_disk(device, (writing ? O_RDWR : O_RDONLY) | O_DIRECT);
    int error = fd < 0 ? errno : offset % BLOCK || left % BLOCK ? EINVAL : 0;
    char text[32];

    for (size_t i = 0; i < BLOCK; i += 8) {
        uint64_t word = next(&state);
        memcpy(page + i, &word, 8);
    }
    while (left && !error) {
        size_t length = left < CHUNK ? left : CHUNK;
        ssize_t done;
        if (writing) {
            fill_chunk(chunk, page, seed, offset, length);
            done = pwrite(fd, chunk, length, (off_t)offset);
        } else {
            done = pread(fd, chunk, length, (off_t)offset);
            crc = crc32(crc, chunk, length);
        }
        if (done != (ssize_t)length)
            error = done < 0 ? errno : EIO;
        offset += length;
        left -= length;
    }
    if (writing && !error && fsync(fd))
        error = errno;
    if (fd >= 0)
        close(fd);
    free(chunk);
    free(page);
    if (error)
        return reply_error(id, writing ? "fill" : "crc", error);
    snprintf(text, sizeof text, "\"crc\":%" PRIu32, crc);
    reply(id, writing ? "" : text);
}

static void do_size(unsigned long id, const char *device)
{
    uint64_t size = 0;
    char text[40];
    int fd = open_disk(device, O_RDONLY);

    if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size)) {
        reply_error(id, "size", errno);
    } else {
        snprintf(text, sizeof text, "\"bytes\":%" PRIu64, size);
        reply(id, text);
    }
    if (fd >= 0)
        close(fd);
}

static void obey(const char *line)
{
    unsigned long id;
    char verb[16] = "", device[16] = "";
    uint64_t n[6] = {0};

    if (sscanf(line, "%lu %15s %15s %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64, &id, verb, device, &n[0], &n[1], &n[2], &n[3], &n[4], &n[5]) < 2)
        return;
    if (!strcmp(verb, "ping")) {
        char told[64];
        snprintf(told, sizeof told, "\"frozen\":%d,\"freezes\":%d", frozen, freezes);
        reply(id, told);
    } else if (!strcmp(verb, "size"))
        do_size(id, device);
    else if (!strcmp(verb, "start"))
        do_start(id, device, n);
    else if (!strcmp(verb, "stop"))
        do_stop(id, device);
    else if (!strcmp(verb, "stat"))
        do_stat(id);
    else if (!strcmp(verb, "reset"))
        do_reset(id);
    else if (!strcmp(verb, "latencies"))
        do_latencies(id);
    else if (!strcmp(verb, "fill") || !strcmp(verb, "crc"))
        do_bulk(id, verb[0] == 'f', device, n);
    else if (!strcmp(verb, "poweroff")) {
        reply(id, "");
        fflush(answers);
        tcdrain(fileno(answers));
        reboot(RB_POWER_OFF);
    } else
        reply_error(id, "verb", ENOSYS);
}

static void answer_libvirt(int port, const char *line)
{
    char told[128];
    const char *id = strstr(line, "\"id\"");

    if (strstr(line, "guest-sync") && id) {
        snprintf(told, sizeof told, "{\"return\": %lld}\n", strtoll(strchr(id, ':') + 1, NULL, 10));
    } else if (strstr(line, "guest-fsfreeze-freeze")) {
        if (!frozen) {
            pthread_rwlock_wrlock(&ice);
            frozen = 1;
            freezes++;
        }
        snprintf(told, sizeof told, "{\"return\": 1}\n");
    } else if (strstr(line, "guest-fsfreeze-thaw")) {
        int was = frozen;
        if (frozen) {
            frozen = 0;
            pthread_rwlock_unlock(&ice);
        }
        snprintf(told, sizeof told, "{\"return\": %d}\n", was);
    } else if (strstr(line, "guest-fsfreeze-status")) {
        snprintf(told, sizeof told, "{\"return\": \"%s\"}\n", frozen ? "frozen" : "thawed");
    } else if (strstr(line, "guest-ping")) {
        snprintf(told, sizeof told, "{\"return\": {}}\n");
    } else {
        snprintf(told, sizeof told, "{\"error\": {\"class\": \"CommandNotFound\", "
                                    "\"desc\": \"not here\"}}\n");
    }
    if (write(port, told, strlen(told)) < 0)
        perror("virtio port");
}

static void *be_guest_agent(void *path)
{
    char line[1024];
    size_t length = 0;
    int port = open(path, O_RDWR);

    while (port >= 0) {
        char c;
        if (read(port, &c, 1) != 1) {
            usleep(RETRY_US); /* nobody has opened the host's side */
        } else if (c == '\n') {
            line[length] = 0;
            if (length)
                answer_libvirt(port, line);
            length = 0;
        } else if (length + 1 < sizeof line) {
            line[length++] = c;
        }
    }
    return NULL;
}

static void find_virtio_port(void)
{
    static char path[300];
    pthread_t thread;
    DIR *devices = opendir("/dev");

    for (struct dirent *one; devices && (one = readdir(devices));) {
        if (!strncmp(one->d_name, "vport", 5)) {
            snprintf(path, sizeof path, "/dev/%s", one->d_name);
            pthread_create(&thread, NULL, be_guest_agent, path);
            break;
        }
    }
}

int main(void)
{
    char line[256];
    struct termios raw;
    int port = open("/dev/ttyS1", O_RDWR | O_NOCTTY);

    if (port < 0) {
        perror("/dev/ttyS1");
        for (;;)
            pause();
    }
    tcgetattr(port, &raw);
    cfmakeraw(&raw);
    cfsetspeed(&raw, B115200);
    tcsetattr(port, TCSANOW, &raw);
    crc_init();
    find_virtio_port();
    FILE *commands = fdopen(port, "r");
    answers = fdopen(dup(port), "w");
    for (;;) {
        if (fgets(line, sizeof line, commands))
            obey(line);
        else
            clearerr(commands);
        fflush(answers);
    }
}
