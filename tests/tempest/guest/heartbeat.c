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
 * The guest of the tempest tests. It writes numbered blocks to each of its disks for as long as
 * it runs, and prints a line each second from which a test learns how they do: nobody needs to
 * log in.
 *
 *     heartbeat {"boot": "9f3c...", "n": 7, "disks": {"vdb": {"serial": "...", "run": "41d7...",
 *     "found": 210, "acked": 288, "errors": 0, "wrong": 0, "longest_ms": 3}}}
 *
 * boot        drawn at each start of the guest
 * n           counts the lines of one boot
 * run         drawn when a disk is written to for the first time, and stored in each block: it
 *             stays with the disk's content, wherever that is moved or attached
 * found       number of the newest block when this guest first looked
 * acked       number of the newest block whose write the disk has acknowledged
 * errors      reads and writes that failed, each try counted
 * wrong       blocks that were read and were not what had been written
 * longest_ms  longest that a write has taken, the present one included
 *
 * Block number m lies in slot m % SLOTS, and all of it follows from run and number. So a disk
 * whose newest block is m must hold exactly the last SLOTS blocks up to m. All of them are checked
 * at the first look, and an older one after each write.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, SLOTS = 128, DISKS = 16, PAUSE_MS = 40, RETRY_MS = 200 };
#define START (8LL << 20)
#define STRIDE (4LL << 20)
#define MAGIC 0x5441454254524148ULL

struct disk {
    char name[16], serial[64];
    int used, gone;
    uint64_t run, found, acked, errors, wrong;
    int64_t longest_ms, began_ms;
};

static struct disk disks[DISKS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void pause_ms(int ms)
{
    struct timespec t = { ms / 1000, ms % 1000 * 1000000L };
    nanosleep(&t, NULL);
}

static uint64_t draw(void)
{
    uint64_t value = 0;
    if (getrandom(&value, sizeof value, 0) != sizeof value || !value)
        value = (uint64_t)now_ms() | 1;
    return value;
}

static void compose(uint64_t *block, uint64_t run, uint64_t number)
{
    uint64_t x = run ^ number * 0x9E3779B97F4A7C15ULL;
    block[0] = MAGIC;
    block[1] = run;
    block[2] = number;
    for (size_t i = 3; i < BLOCK / sizeof *block; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        block[i] = x;
    }
}

static off_t place(uint64_t number)
{
    return START + (off_t)(number % SLOTS) * STRIDE;
}

static int read_block(int fd, uint64_t *block, uint64_t number)
{
    return pread(fd, block, BLOCK, place(number)) == BLOCK;
}

/* The newest block that is whole; 0 on a disk that nobody has written to. */
static int newest(int fd, uint64_t *block, uint64_t *wanted, uint64_t *run, uint64_t *number)
{
    *run = *number = 0;
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        if (!read_block(fd, block, slot))
            return 0;
        if (block[0] != MAGIC || block[2] <= *number || block[2] % SLOTS != slot)
            continue;
        compose(wanted, block[1], block[2]);
        if (!memcmp(block, wanted, BLOCK)) {
            *run = block[1];
            *number = block[2];
        }
    }
    return 1;
}

/*
 * Compares what the disk has to hold, and returns how many blocks are something else; -1 if one
 * can't be read. One slot may hold anything: that of a write which a power-off cut short.
 */
static int64_t differing(int fd, uint64_t *block, uint64_t *wanted, uint64_t run, uint64_t last)
{
    int64_t wrong = 0;
    uint64_t first = last >= SLOTS ? last - SLOTS + 2 : 1;
    for (uint64_t number = first; number <= last; number++) {
        if (!read_block(fd, block, number))
            return -1;
        compose(wanted, run, number);
        wrong += memcmp(block, wanted, BLOCK) != 0;
    }
    return wrong;
}

static int present(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/block/%s", name);
    return access(path, F_OK) == 0;
}

static void failed(struct disk *disk)
{
    pthread_mutex_lock(&lock);
    disk->errors++;
    pthread_mutex_unlock(&lock);
    pause_ms(RETRY_MS);
}

static void look(struct disk *disk, int fd, uint64_t *block, uint64_t *wanted)
{
    uint64_t run, number;
    int64_t wrong = 0;
    while (present(disk->name)) {
        if (newest(fd, block, wanted, &run, &number)) {
            if (number)
                wrong = differing(fd, block, wanted, run, number);
            if (wrong >= 0) {
                pthread_mutex_lock(&lock);
                disk->run = number ? run : draw();
                disk->found = disk->acked = number;
                disk->wrong += (uint64_t)wrong;
                pthread_mutex_unlock(&lock);
                return;
            }
        }
        failed(disk);
    }
}

/* Writes a block, and reads one that is older, of those that lie there now. */
static void step(struct disk *disk, int fd, uint64_t *block, uint64_t *wanted)
{
    uint64_t number = disk->acked + 1;
    compose(block, disk->run, number);
    pthread_mutex_lock(&lock);
    disk->began_ms = now_ms();
    pthread_mutex_unlock(&lock);
    ssize_t done = pwrite(fd, block, BLOCK, place(number));
    pthread_mutex_lock(&lock);
    int64_t took = now_ms() - disk->began_ms;
    disk->began_ms = 0;
    if (took > disk->longest_ms)
        disk->longest_ms = took;
    if (done == BLOCK)
        disk->acked = number;
    pthread_mutex_unlock(&lock);
    if (done != BLOCK) {
        failed(disk);
        return;
    }
    uint64_t held = number < SLOTS ? number : SLOTS;
    uint64_t older = number - draw() % held;
    if (!read_block(fd, block, older)) {
        failed(disk);
        return;
    }
    compose(wanted, disk->run, older);
    if (memcmp(block, wanted, BLOCK)) {
        pthread_mutex_lock(&lock);
        disk->wrong++;
        pthread_mutex_unlock(&lock);
    }
    pause_ms(PAUSE_MS);
}

static void *work(void *given)
{
    struct disk *disk = given;
    char path[64];
    void *block = NULL, *wanted = NULL;
    int fd = -1;
    if (posix_memalign(&block, BLOCK, BLOCK) || posix_memalign(&wanted, BLOCK, BLOCK))
        abort();
    snprintf(path, sizeof path, "/dev/%s", disk->name);
    while (present(disk->name)) {
        fd = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
        if (fd >= 0)
            break;
        failed(disk);
    }
    if (fd >= 0) {
        look(disk, fd, block, wanted);
        while (present(disk->name))
            step(disk, fd, block, wanted);
        close(fd);
    }
    free(block);
    free(wanted);
    pthread_mutex_lock(&lock);
    disk->gone = 1;
    pthread_mutex_unlock(&lock);
    return NULL;
}

static void attribute(const char *name, const char *what, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/sys/block/%s/%s", name, what);
    out[0] = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t got = read(fd, out, size - 1);
    close(fd);
    size_t length = 0;
    for (ssize_t i = 0; i < got; i++)
        if (isalnum((unsigned char)out[i]) || out[i] == '-')
            out[length++] = out[i];
    out[length] = 0;
}

static void adopt(const char *name)
{
    char text[64];
    attribute(name, "size", text, sizeof text);
    if (atoll(text) * 512 < START + SLOTS * STRIDE)
        return;
    struct disk *place_for = NULL;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < DISKS; i++) {
        struct disk *disk = &disks[i];
        if (disk->used && disk->gone)
            disk->used = 0;
        if (disk->used && !strcmp(disk->name, name)) {
            pthread_mutex_unlock(&lock);
            return;
        }
        if (!disk->used && !place_for)
            place_for = disk;
    }
    pthread_mutex_unlock(&lock);
    if (!place_for)
        return;
    struct disk fresh = { .used = 1 };
    snprintf(fresh.name, sizeof fresh.name, "%s", name);
    attribute(name, "serial", fresh.serial, sizeof fresh.serial);
    pthread_mutex_lock(&lock);
    *place_for = fresh;
    pthread_mutex_unlock(&lock);
    pthread_t thread;
    if (pthread_create(&thread, NULL, work, place_for))
        abort();
    pthread_detach(thread);
}

static void adopt_all(void)
{
    DIR *folder = opendir("/sys/block");
    if (!folder)
        return;
    for (struct dirent *one; (one = readdir(folder));)
        if (strlen(one->d_name) < 8 && strspn(one->d_name, "vs") == 1 && one->d_name[1] == 'd')
            adopt(one->d_name);
    closedir(folder);
}

static void tell(uint64_t boot, uint64_t n)
{
    char line[8192];
    int at = snprintf(line, sizeof line,
                      "heartbeat {\"boot\": \"%016llx\", \"n\": %llu, \"disks\": {",
                      (unsigned long long)boot, (unsigned long long)n);
    const char *comma = "";
    pthread_mutex_lock(&lock);
    for (int i = 0; i < DISKS; i++) {
        const struct disk *d = &disks[i];
        if (!d->used || d->gone || !d->run)
            continue;
        int64_t longest = d->longest_ms;
        if (d->began_ms && now_ms() - d->began_ms > longest)
            longest = now_ms() - d->began_ms;
        at += snprintf(line + at, sizeof line - (size_t)at,
                       "%s\"%s\": {\"serial\": \"%s\", \"run\": \"%016llx\", \"found\": %llu,"
                       " \"acked\": %llu, \"errors\": %llu, \"wrong\": %llu,"
                       " \"longest_ms\": %lld}",
                       comma, d->name, d->serial, (unsigned long long)d->run,
                       (unsigned long long)d->found, (unsigned long long)d->acked,
                       (unsigned long long)d->errors, (unsigned long long)d->wrong,
                       (long long)longest);
        comma = ", ";
    }
    pthread_mutex_unlock(&lock);
    printf("%s}}\n", line);
    fflush(stdout);
}

int main(void)
{
    uint64_t boot = draw();
    for (uint64_t n = 1;; n++) {
        adopt_all();
        tell(boot, n);
        pause_ms(1000);
    }
}
